"""How a run can end other than by finishing, and what it leaves then."""

from __future__ import annotations

import os
import pickle
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grng.errors import GrngError, RunDirectoryError
from grng.models import PreparedModel, prepare_model
from grng.runs.result import RunResult
from grng.training import building, session
from grng.training.errors import Interrupted, RunFailed, Terminated
from grng.training.evaluate import Scores
from grng.training.events import Event, RunEnded, StepDone
from grng.training.seeding import rng_state
from grng.training.trainer import train
from tests.training.helpers import difference, metrics, run_config

pytestmark = pytest.mark.usefixtures("small_data")


def at_step(step: int, act: Callable[[], Any]) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            act()

    return listener


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes the weights of the model in training infinite."""
    models: list[torch.nn.Module] = []

    def prepare(*args: Any, **kwargs: Any) -> PreparedModel:
        prepared = prepare_model(*args, **kwargs)
        models.append(prepared.model)
        return prepared

    def act() -> None:
        with torch.no_grad():
            for parameter in models[-1].parameters():
                parameter.fill_(torch.inf)

    monkeypatch.setattr(building, "prepare_model", prepare)
    return act


def stored(directory: Path) -> RunResult:
    return RunResult.load(directory / "result.json")


def test_a_loss_that_is_no_number_is_a_result(tmp_path: Path, poison: Callable[[], None]) -> None:
    events: list[Event] = []
    config = run_config(training={"eval_every": None})
    result = train(config, tmp_path / "run", listeners=[events.append, at_step(5, poison)])
    assert (result.status, result.reason, result.steps) == ("diverged", "nan", 6)
    assert result.message == "the loss was no longer a finite number at step 6."
    assert result.final.train_loss is None
    assert result.final.test_accuracy is None
    assert result.final.val_accuracy is not None, "the first epoch's is kept"
    assert stored(tmp_path / "run") == result
    last = metrics(tmp_path / "run")[-1]
    assert (last["kind"], last["step"], last["train_loss"]) == ("step", 6, None)
    assert events[-1] == RunEnded(result)
    assert train(config, tmp_path / "run") == result, "a diverged run is a result and is not done again"


def test_a_learning_rate_out_of_all_bounds_diverges(tmp_path: Path) -> None:
    config = run_config({"name": "sgd", "lr": 1e30}, training={"schedule": "constant"})
    result = train(config, tmp_path / "run")
    assert (result.status, result.reason) == ("diverged", "nan")
    assert result.steps < 10


def test_the_loss_bound_is_a_result(tmp_path: Path) -> None:
    config = run_config(
        {"name": "sgd", "lr": 100.0, "weight_decay": 0.0},
        training={"schedule": "constant", "divergence_factor": 1.5, "divergence_patience": 3, "steps": 40},
    )
    result = train(config, tmp_path / "run")
    assert (result.status, result.reason) == ("diverged", "loss_bound")
    assert result.message == (
        f"the loss was above 1.5 times the first step's for 3 steps in a row, up to step {result.steps}."
    )
    assert result.final.train_loss is not None


def test_weights_ruined_by_the_last_step_are_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "evaluate_batches", lambda *_, **__: Scores(loss=float("nan"), accuracy=0.1))
    result = train(run_config(training={"eval_every": None, "steps": 4}), tmp_path / "run")
    assert (result.status, result.reason, result.steps) == ("diverged", "nan", 4)
    assert (result.final.val_loss, result.final.val_accuracy) == (None, 0.1)
    assert result.best.val_accuracy is None
    assert metrics(tmp_path / "run")[-1]["val_loss"] is None


def fail_with(error: BaseException) -> Callable[[Event], None]:
    def act() -> None:
        raise error

    return at_step(6, act)


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (RuntimeError("boom\nand more"), "crash", "RuntimeError: boom"),
        (ZeroDivisionError(), "crash", "ZeroDivisionError"),
    ],
)
def test_a_crash_is_written_down_and_raised(tmp_path: Path, error: Exception, reason: str, message: str) -> None:
    config, directory = run_config(), tmp_path / "run"
    with pytest.raises(RunFailed) as caught:
        train(config, directory, listeners=[fail_with(error)])
    assert caught.value.exit_code == 1
    assert caught.value.message == message
    assert caught.value.directory == directory
    assert caught.value.__cause__ is error
    result = stored(directory)
    assert (result.status, result.reason, result.message, result.steps) == ("failed", reason, message, 6)
    assert train(config, directory).resumed_from_step == 4, "a failed run is tried again from its checkpoint"


def allocate_everything() -> None:
    torch.empty(10**15)


def raise_of(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (allocate_everything, "RuntimeError: [enforce fail at alloc_cpu.cpp:"),
        (raise_of(MemoryError()), "MemoryError."),
        (raise_of(torch.OutOfMemoryError("CUDA out of memory.")), "OutOfMemoryError: CUDA out of memory."),
        (raise_of(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when …")), "RuntimeError: CUDA error: CUBLAS_"),
        (raise_of(OSError(12, "Cannot allocate memory")), "OSError: [Errno 12] Cannot allocate memory."),
    ],
)
def test_memory_that_runs_out_is_told_with_what_to_type(tmp_path: Path, act: Callable[[], None], said: str) -> None:
    directory = tmp_path / "run"
    with pytest.raises(RunFailed) as caught:
        train(run_config("ring"), directory, listeners=[at_step(6, act)])
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith(f"memory ran out: {said}")
    hint = caught.value.hint or ""
    assert hint.startswith(
        "Give --grad-accum 2 (now 1; the batch stays 32), or --batch-size 16 (now 32), or --opt curv"
    )
    result = stored(directory)
    assert (result.status, result.reason, result.steps) == ("failed", "oom", 6)
    assert result.message == f"{caught.value.message} {hint}"
    assert train(run_config("ring"), directory).resumed_from_step == 4


def test_a_crash_before_the_first_step_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(building, "create_optimizer", explode)
    with pytest.raises(RunFailed):
        train(run_config(), tmp_path / "run")
    assert (stored(tmp_path / "run").status, stored(tmp_path / "run").reason) == ("failed", "oom")


def test_a_users_error_inside_a_step_stays_one(tmp_path: Path) -> None:
    mistake = GrngError("tied weights.", where="model")
    with pytest.raises(GrngError) as caught:
        train(run_config(), tmp_path / "run", listeners=[fail_with(mistake)])
    assert caught.value is mistake
    assert stored(tmp_path / "run").status == "failed"


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"batch_size": 141}},
        {"training": {"warmup": 10}},
        {"machine": {"device": "cuda:77"}},
        {"machine": {"device": "toaster"}},
        {"model": {"name": "test_vit"}},  # 8×8 images do not hold a patch of 16
    ],
)
def test_what_cannot_be_had_leaves_no_trace(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(GrngError) as caught:
        train(run_config(**changes), tmp_path / "deep" / "run")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunDirectoryError, match="holds something else"):
        train(run_config(), tmp_path, on_existing="rerun")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_run_in_the_directory(tmp_path: Path) -> None:
    train(run_config(training={"steps": 2}), tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="holds another run"):
        train(run_config(training={"steps": 3}), tmp_path / "run", on_existing="rerun")
    assert stored(tmp_path / "run").steps == 2


def test_a_directory_in_use(tmp_path: Path) -> None:
    def intrude() -> None:
        with pytest.raises(RunDirectoryError, match=f"process {os.getpid()}"):
            train(run_config(), tmp_path / "run")

    assert train(run_config(), tmp_path / "run", listeners=[at_step(2, intrude)]).status == "finished"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunDirectoryError, match="is not writable"):
            train(run_config(), tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_a_message_and_the_last_checkpoint_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill() -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)

    with pytest.raises(RunDirectoryError, match="no space left on the disk"):
        train(run_config(), tmp_path / "run", listeners=[at_step(6, fill)])
    monkeypatch.undo()
    assert train(run_config(), tmp_path / "run").resumed_from_step == 4


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals, kind: type[Interrupted]) -> None:
    events: list[Event] = []
    directory = tmp_path / "run"
    with pytest.raises(Interrupted) as caught:
        train(run_config(), directory, listeners=[events.append, at_step(6, lambda: os.kill(os.getpid(), number))])
    assert type(caught.value) is kind
    assert caught.value.where == str(directory)
    assert caught.value.message == "stopped at step 6 of 10; what is there is saved."
    assert isinstance(events[-1], RunEnded)
    assert events[-1].result.status == "interrupted"
    assert train(run_config(), directory).resumed_from_step == 6


def test_a_second_signal_ends_the_run_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped at once") as caught:
        train(run_config(), tmp_path / "run", listeners=[at_step(6, twice)])
    assert caught.value.exit_code == 130
    assert not (tmp_path / "run" / "result.json").exists()
    assert train(run_config(), tmp_path / "run").resumed_from_step == 4


def test_a_signal_during_the_last_evaluation_keeps_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(event: Event) -> None:
        if isinstance(event, RunEnded):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="the result is saved"):
        train(run_config(), tmp_path / "run", listeners=[ended])
    assert stored(tmp_path / "run").status == "finished"


def test_a_listener_that_stumbles_over_the_end_does_not_undo_the_result(tmp_path: Path) -> None:
    def stumble(event: Event) -> None:
        if isinstance(event, RunEnded):
            raise RuntimeError("boom")

    with pytest.raises(RunFailed, match="boom"):
        train(run_config(), tmp_path / "run", listeners=[stumble])
    assert stored(tmp_path / "run").status == "finished"


def global_state() -> tuple[Any, ...]:
    state = rng_state()
    return (
        state,
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.get_default_dtype(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
    )


@pytest.mark.parametrize("ending", [None, RuntimeError("boom"), KeyboardInterrupt()])
def test_global_state_is_as_before(tmp_path: Path, ending: BaseException | None) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = global_state()
    config = run_config(machine={"device": "cpu", "threads": 2})
    listeners = [] if ending is None else [fail_with(ending)]
    if ending is None:
        assert train(config, tmp_path / "run").environment.threads == 2
    else:
        with pytest.raises((RunFailed, Interrupted)):
            train(config, tmp_path / "run", listeners=listeners)
    assert difference(global_state(), before) is None


def test_errors_travel_between_processes() -> None:
    for kind in (Interrupted, Terminated, RunFailed):
        error = kind("stopped.", where="runs/x", hint="Go on.")
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is kind
        assert (str(copy), copy.exit_code, copy.directory) == (str(error), error.exit_code, Path("runs/x"))


def test_events_travel_between_processes(tmp_path: Path) -> None:
    events: list[Event] = []
    train(run_config(training={"steps": 4}), tmp_path / "run", listeners=[events.append])
    assert pickle.loads(pickle.dumps(events)) == events
