"""Compiled models and channels last: the same steps, no time of theirs in the steps' times, one message where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch._functorch.config
import torch._inductor.config

from grng.errors import GrngError
from grng.training.building import build_session
from grng.training.device import execution_settings
from grng.training.session import Session
from grng.training.trainer import train
from tests.tiers import tiered
from tests.training.helpers import difference, run_config

pytestmark = [
    pytest.mark.usefixtures("small_data"),
    # the compiler looks at `.grad` of tensors between two graphs
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

VARIANTS: list[Any] = ["adamw", "ring", "r-kalman", "sam", {"name": "reng", "hvp": "finite_difference"}]


@pytest.fixture
def eagerly(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trace as in earnest, without generating code."""
    compile_in_earnest = torch.compile
    monkeypatch.setattr("torch.compile", lambda model: compile_in_earnest(model, backend="aot_eager"))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def after_steps(optimizer: Any, steps: int = 3, **machine: Any) -> Session:
    config = run_config(optimizer, machine={"device": "cpu", **machine})
    with execution_settings(torch.device("cpu"), threads=None, compiles=config.machine.compile):
        session = build_session(config)
        for _ in range(steps):
            session.progress.record_step(session.advance(collect=True).loss)
        session.evaluate(session.data.val)
    return session


def assert_close(one: Session, other: Session) -> None:
    torch.testing.assert_close(one.progress.losses[0], other.progress.losses[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(list(one.progress.losses), list(other.progress.losses), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("optimizer", tiered(VARIANTS, ["adamw", "ring"]), ids=str)
def test_steps_of_a_compiled_model_are_those_of_the_model(optimizer: Any, eagerly: None) -> None:
    assert_close(after_steps(optimizer, compile=True), after_steps(optimizer))


@pytest.mark.slow
def test_compiling_ahead_leaves_nothing_behind(eagerly: None) -> None:
    sessions = [after_steps("ring", 0, compile=True), after_steps("ring", 0)]
    one, other = (session.state_dict() for session in sessions)
    for key in ("model", "optimizer", "rng", "precision"):
        assert difference(one[key], other[key], key) is None
    assert sessions[0].optimizer.diagnostics() == sessions[1].optimizer.diagnostics()
    assert sessions[0].clock.elapsed_s == 0.0


@pytest.mark.slow
def test_nothing_is_compiled_within_the_steps(eagerly: None) -> None:
    config = run_config("ring", machine={"device": "cpu", "compile": True})
    with execution_settings(torch.device("cpu"), threads=None, compiles=True):
        session = build_session(config)
        with torch.compiler.set_stance("fail_on_recompile"):
            for _ in range(5):
                session.progress.record_step(session.advance().loss)
                session.evaluate(session.data.val)


def test_the_compiler_s_setting_is_put_back() -> None:
    before = torch._functorch.config.donated_buffer
    with execution_settings(torch.device("cpu"), threads=None, compiles=True):
        assert not torch._functorch.config.donated_buffer
    assert torch._functorch.config.donated_buffer == before


def test_no_compiler_is_one_message(tmp_path: Path) -> None:
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(GrngError) as caught:
        train(run_config("sgd", machine={"device": "cpu", "compile": True}), tmp_path / "run")
    assert str(caught.value) == (
        "machine.compile: torch.compile needs a C++ compiler, and none was found that works. "
        "Install one (on Debian: apt install g++), or leave out machine.compile (--compile)."
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "ring"])
def test_generated_code_trains_and_resumes(optimizer: str, tmp_path: Path) -> None:
    config = run_config(optimizer, machine={"device": "cpu", "compile": True}, training={"steps": 6, "grad_accum": 2})
    result = train(config, tmp_path / "run")
    assert result.status == "finished"
    assert result.time.step_ms is not None
    assert result.time.step_ms < 2000, "compiling is in no step"
    plain = train(run_config(optimizer, training={"steps": 6, "grad_accum": 2}), tmp_path / "plain")
    assert result.final.train_loss == pytest.approx(plain.final.train_loss, rel=0.02)
    assert result.run_id == plain.run_id


@pytest.mark.parametrize("optimizer", VARIANTS, ids=str)
def test_channels_last_is_the_same_step(optimizer: Any) -> None:
    one, other = after_steps(optimizer, channels_last=True), after_steps(optimizer)
    convolutions = [p for p in one.model.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert convolutions
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)
    assert one.init_sha256 == other.init_sha256
    assert_close(one, other)
