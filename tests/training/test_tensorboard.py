from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from grng.training.errors import Interrupted
from grng.training.events import Event, StepDone
from grng.training.listeners.tensorboard import hyperparameters
from grng.training.trainer import train
from tests.training.helpers import at_step, interrupt_when, metrics, run_config

pytestmark = pytest.mark.usefixtures("small_data")

PHASE_TAGS = {f"time/{name}_ms" for name in ("step", "data", "forward", "observe", "backward", "optimizer")}


def board(directory: Path) -> Any:
    reader = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    return reader


def scalars(reader: Any, tag: str) -> list[tuple[int, Any]]:
    return [(event.step, event.value) for event in reader.Scalars(tag)]


def expected(directory: Path, kind: str, name: str) -> list[tuple[int, Any]]:
    """Return what `metrics.jsonl` has, as float32, which is what TensorBoard keeps."""
    lines = [line for line in metrics(directory) if (line["kind"] == kind or kind == "any") and name in line]
    return [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines]


def assert_equals_metrics(reader: Any, directory: Path) -> None:
    assert scalars(reader, "train/loss") == expected(directory, "step", "train_loss")
    assert scalars(reader, "train/accuracy") == expected(directory, "step", "train_accuracy")
    assert scalars(reader, "train/lr") == expected(directory, "step", "lr")
    assert scalars(reader, "train/epoch_loss") == expected(directory, "epoch", "train_loss")
    assert scalars(reader, "eval/loss") == expected(directory, "any", "val_loss")
    assert scalars(reader, "eval/accuracy") == expected(directory, "any", "val_accuracy")
    diagnostics = {name for line in metrics(directory) for name in line if name.startswith("optimizer/")}
    assert diagnostics
    for name in diagnostics:
        assert scalars(reader, name) == expected(directory, "step", name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Path:
    directory = tmp_path_factory.mktemp("board") / "run"
    train(run_config("ring", logging={"tensorboard": True}), directory)
    return directory


def test_the_scalars_are_those_of_the_metrics(run: Path) -> None:
    reader = board(run)
    assert_equals_metrics(reader, run)
    tags = set(reader.Tags()["scalars"])
    assert tags >= PHASE_TAGS
    assert {tag.split("/")[0] for tag in tags} == {"train", "eval", "optimizer", "time", "final"}
    times = dict(scalars(reader, "time/step_ms"))
    assert all(times[step] > 0 for step, _ in scalars(reader, "train/loss"))


def test_one_run_is_one_directory(run: Path) -> None:
    assert len(list(run.rglob("events.out.tfevents.*"))) == 1
    assert [entry.name for entry in run.iterdir() if entry.is_dir()] == ["checkpoint"]


def test_the_final_scores_and_the_hyperparameters_are_there(run: Path) -> None:
    from grng.runs.result import RunResult

    reader = board(run)
    result = RunResult.load(run / "result.json")
    for name, value in result.final.model_dump().items():
        assert scalars(reader, f"final/{name}") == [(10, pytest.approx(value, rel=1e-6))]
    content = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["optimizer"].string_value == "ring"
    assert start.hparams["batch_size"].number_value == 32
    assert start.hparams["rho"].number_value == result.hyperparameters["rho"]
    content = reader.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert "final/test_accuracy" in {info.name.tag for info in experiment.metric_infos}


def test_the_coverage_is_there_as_text(run: Path) -> None:
    reader = board(run)
    (event,) = reader.Tensors("coverage/text_summary")
    assert b"Kronecker" in event.tensor_proto.string_val[0]


def test_hyperparameters_leave_out_what_is_not_set() -> None:
    settings = hyperparameters(run_config("sgd"))
    assert settings["steps"] == 10
    assert "epochs" not in settings
    assert all(isinstance(value, (bool, str, int, float)) for value in settings.values())
    assert hyperparameters(run_config("sophia-g"))["betas"] == "[0.96, 0.99]"


def test_no_point_is_there_twice_after_a_stop(tmp_path: Path) -> None:
    config, directory = run_config(logging={"tensorboard": True}), tmp_path / "run"
    for step in (3, 5, 9):
        with pytest.raises(Interrupted):
            train(config, directory, listeners=[interrupt_when(at_step(step))])
    train(config, directory)
    assert_equals_metrics(board(directory), directory)


def test_no_point_is_there_twice_or_missing_after_a_kill(tmp_path: Path) -> None:
    """Killed at step 7 after the checkpoint of step 4, with all that was queued written out."""
    config, directory = run_config(logging={"tensorboard": True}), tmp_path / "run"

    def crash(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 7:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(config, directory, listeners=[crash])
    assert dict(scalars(board(directory), "train/loss")).keys() == {1, 2, 3, 4, 6}
    assert train(config, directory).resumed_from_step == 4
    reader = board(directory)
    assert_equals_metrics(reader, directory)
    assert [step for step, _ in scalars(reader, "train/loss")] == [1, 2, 3, 4, 6, 8, 9, 10]


def test_without_tensorboard_there_are_no_files(tmp_path: Path) -> None:
    train(run_config(training={"steps": 2}), tmp_path / "run")
    assert list((tmp_path / "run").glob("events*")) == []


def test_a_long_run_has_no_more_points_than_tensorboard_shows(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    train(
        run_config(
            "sgd", logging={"tensorboard": True, "log_every": 1, "tensorboard_points": 4}, training={"steps": 18}
        ),
        directory,
    )
    reader = board(directory)
    assert [step for step, _ in scalars(reader, "train/loss")] == [1, 5, 10, 15, 18], "evenly, and both ends"
    assert len([line for line in metrics(directory) if line["kind"] == "step"]) == 18, "the metrics have every step"
    assert scalars(reader, "eval/accuracy") == expected(directory, "any", "val_accuracy")
    assert scalars(reader, "train/epoch_loss") == expected(directory, "epoch", "train_loss")
    assert [step for step, _ in scalars(reader, "time/step_ms")] == [1, 5, 10, 15, 18]


def test_the_scalars_of_a_step_are_one_record(run: Path) -> None:
    loaded = RawEventFileLoader(str(next(run.glob("events.*")))).Load()
    records = [event for event in map(event_pb2.Event.FromString, loaded) if event.HasField("summary")]
    steps = [event.step for event in records if any(value.tag == "train/loss" for value in event.summary.value)]
    assert steps
    assert len(steps) == len(set(steps))
    for event in records:
        tags = {value.tag for value in event.summary.value}
        assert "train/loss" not in tags or tags >= PHASE_TAGS
