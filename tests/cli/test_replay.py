"""`grng replay`: a run is done again, compared, and never touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from grng.experiments.replay import MARK, default_output, replay_config
from grng.optimizers import list_optimizers
from grng.training.own_code import OWN_CODE
from tests.cli.conftest import TINY, Call, call, snapshot

LINE = ("train", *TINY, "--eval-every", 2, "--set", "logging.log_every=1", "--no-tensorboard")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("original") / "run"
    assert call(*LINE, "--optimizer", "ring", "--seed", 3, "--threads", 1, "--output", directory).code == 0
    return directory


@pytest.fixture(scope="module")
def replayed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run done again."""
    directory = tmp_path_factory.mktemp("replayed") / "again"
    before = snapshot(original)
    ran = call("replay", original, "--output", directory)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("ring, seed 3: equal bit for bit (4 lines of metrics and all scores)\n")
    assert snapshot(original) == before, "the run is only read"
    return directory


def tampered(original: Path, place: Path) -> Path:
    """Return a copy of the run with another loss in its second line and in its result."""
    copy = Path(shutil.copytree(original, place))
    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    lines[1]["train_loss"] *= 1.0001
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = json.loads((copy / "result.json").read_text())
    result["final"]["test_loss"] *= 1.01
    (copy / "result.json").write_text(json.dumps(result))
    return copy


def test_a_replay_is_equal_bit_for_bit_and_not_done_twice(grng: Call, original: Path, replayed: Path) -> None:
    assert json.loads((replayed / MARK).read_text())["outcome"]["identical"] is True
    again = grng("replay", original, "--output", replayed, "--json")
    assert "reused" in again.err
    (document,) = json.loads(again.out)["replays"]
    assert (document["identical"], document["lines"], document["changes"]) == (True, 4, [])


def test_where_a_replay_goes_by_itself(original: Path) -> None:
    config = replay_config(original)
    assert default_output(config).parent == Path("runs")
    assert default_output(config).name.startswith("replay-ring-seed3-")
    assert (config.output, config.machine.threads, config.machine.device) == (None, 1, "cpu")


def test_what_differs_is_told_with_its_digits_and_is_an_error(
    grng: Call, workdir: Path, original: Path, replayed: Path
) -> None:
    copy = tampered(original, workdir / "tampered")
    shutil.copytree(replayed, workdir / "again")
    ran = grng("replay", "tampered", "--output", "again")
    assert ran.code == 1
    assert ran.out.startswith(
        "ring, seed 3: DIFFERENT in the digits that tables show; code, versions and machine are the"
    )
    text = " ".join(ran.out.split())
    assert "first difference: step 2, train_loss:" in text
    assert "(4 digits agree)" in text or "(3 digits agree)" in text
    assert "report it, with what `grng env` prints" in text
    result = json.loads((copy / "result.json").read_text())
    assert result["environment"]["code"] == OWN_CODE
    result["environment"]["torch"] = "2.0.0"
    (copy / "result.json").write_text(json.dumps(result))
    ran = grng("replay", "tampered", "--output", "again")
    assert ran.code == 0, "another version may compute something else"
    assert "not the same: torch 2.0.0, now" in ran.out


def test_what_it_refuses_is_said_and_nothing_is_written(grng: Call, workdir: Path, original: Path) -> None:
    copy = Path(shutil.copytree(original, workdir / "experiment" / "ring" / "seed3"))
    (workdir / "experiment" / "experiment.yaml").write_text("optimizers: [ring]\nseeds: [3]\n")
    shutil.copytree(original, workdir / "other")
    (workdir / "empty").mkdir()
    before = snapshot(workdir)
    refused: list[tuple[list[object], str, str]] = [
        (["nothing"], "nothing: does not exist.", "Give the directory of a run"),
        (["empty"], "empty: holds no run.", "config.yaml"),
        (["experiment"], "experiment: holds many runs.", "e.g. experiment/ring/seed3"),
        ([copy, "--output", copy], "is the run that is to be done again.", "--output"),
        ([copy, "--output", copy / "x"], "lies in the run that is to be done again.", "--output"),
        ([original, "--output", "experiment/x"], "lies in an experiment, whose report would count", "--output"),
        ([original, "--output", "other"], "holds a run that is no replay.", "--output"),
        ([original, original], "two of the runs are the same one.", "once"),
        ([original, "--device", "tpu"], "unknown device 'tpu'.", "cpu"),
    ]
    for arguments, message, hint in refused:
        ran = grng("replay", *arguments)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert message in ran.err
        assert hint in ran.err
        assert snapshot(workdir) == before, arguments


@pytest.mark.slow
@pytest.mark.parametrize("name", [info.name for info in list_optimizers()] + ["timm:lamb"])
def test_every_optimizers_run_can_be_replayed(grng: Call, workdir: Path, name: str) -> None:
    assert grng(*LINE, "--optimizer", name, "--threads", 1, "--output", "run").code == 0
    ran = grng("replay", "run", "--output", "again")
    assert ran.code == 0, ran.out
    assert ": equal bit for bit (" in ran.out


@pytest.mark.slow
def test_several_runs_of_an_experiment_with_several_threads(grng: Call, workdir: Path) -> None:
    line = ("compare", "--optimizers", "sgd,adamw", "--seeds", 1, *TINY, "--workers", 0, "--threads-per-run", 2)
    assert grng(*line, "--output", "out").code == 0
    ran = grng("replay", "out/sgd/seed0", "out/adamw/seed0", "--output", "again", "--json")
    assert ran.code == 0, ran.err
    assert [one["identical"] for one in json.loads(ran.out)["replays"]] == [True, True]
    assert len(list((workdir / "again").iterdir())) == 2
