"""A run whose last checkpoint is damaged goes on from the one before, bit for bit, with every step there once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from grng.errors import RunDirectoryError
from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.errors import Interrupted
from grng.training.events import Event, RunStarted
from grng.training.trainer import train
from tests.cli.conftest import call, snapshot
from tests.training.helpers import at_step, checkpoint, difference, interrupt_when, run_config, untimed
from tests.training.test_tensorboard import assert_equals_metrics, board, scalars

pytestmark = pytest.mark.usefixtures("small_data")


def config_of() -> RunConfig:
    logging = {"tensorboard": True, "log_every": 1, "checkpoint_every": 2}
    return run_config("adamw", training={"steps": 10}, logging=logging)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Path:
    directory = tmp_path_factory.mktemp("straight") / "run"
    train(config_of(), directory)
    return directory


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory, small_data: None) -> Path:
    """Stopped at step 7: checkpoints of steps 7 and 6, within an epoch."""
    directory = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted):
        train(config_of(), directory, listeners=[interrupt_when(at_step(7))])
    return directory


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip])
def test_it_goes_on_from_the_one_before(straight: Path, stopped: Path, damage: Callable[[Path], None]) -> None:
    damage(stopped / "checkpoint" / "last.pt")
    events: list[Event] = []
    result = train(config_of(), stopped, listeners=[events.append])
    assert (result.status, result.steps, result.resumed_from, result.resumed_from_step) == (
        "finished",
        10,
        "previous",
        6,
    )
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    (warning,) = started.warnings
    assert "Going on from previous.pt, step 6; later steps are done again." in warning
    assert untimed(stopped) == untimed(straight)
    for name in ("last", "previous", "best"):
        assert difference(checkpoint(stopped, name), checkpoint(straight, name)) is None
    reader = board(stopped)
    assert_equals_metrics(reader, stopped)
    assert [step for step, _ in scalars(reader, "train/loss")] == list(range(1, 11))


def test_the_good_one_stays_until_the_next_is_complete(stopped: Path) -> None:
    flip(stopped / "checkpoint" / "last.pt")
    with pytest.raises(Interrupted):
        train(config_of(), stopped, listeners=[interrupt_when(at_step(8))])
    assert checkpoint(stopped, "last")["progress"]["step"] == 8
    assert checkpoint(stopped, "previous")["progress"]["step"] == 6
    assert train(config_of(), stopped).resumed_from == "last"


def test_with_both_damaged_there_is_one_message_and_nothing_is_changed(stopped: Path) -> None:
    for name in ("last", "previous"):
        flip(stopped / "checkpoint" / f"{name}.pt")
    before = snapshot(stopped)
    with pytest.raises(RunDirectoryError, match=r"and so is previous\.pt"):
        train(config_of(), stopped)
    before["claim.lock"] = snapshot(stopped)["claim.lock"]
    assert snapshot(stopped) == before


def test_a_checkpoint_of_an_older_version_is_gone_on_from(straight: Path, stopped: Path) -> None:
    last = stopped / "checkpoint" / "last.pt"
    content = torch.load(last, weights_only=True)
    del content["event_bytes"]
    torch.save(content, last)
    (stopped / "checkpoint" / "previous.pt").unlink()
    assert train(config_of(), stopped).resumed_from == "last"
    assert untimed(stopped) == untimed(straight)
    assert_equals_metrics(board(stopped), stopped)


def test_the_command_warns_once(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(stopped / "checkpoint" / "last.pt")
    ran = call("train", "--config", stopped / "config.yaml", "--output", stopped, "--quiet")
    assert ran.code == 0
    assert ran.err == (
        f"warning: {stopped}/checkpoint/last.pt: the checkpoint is damaged: the checksum does not fit. "
        "Going on from previous.pt, step 6; later steps are done again.\n"
    )
    assert RunResult.load(stopped / "result.json").resumed_from == "previous"
