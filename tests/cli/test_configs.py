"""Every file in configs/ does what its command does with it, short of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from grng.runs.shipped import configs_folder, find_config, list_configs
from tests.cli.conftest import Call, snapshot
from tests.tiers import tiered

LONG = {
    "compare/ablations",
    "compare/attribution",
    "compare/divergence",
    "compare/tuned",
    "compare/workloads",
    "paper/claims",
    "paper/two_layer",
}  # a step of every variant is taken


def test_every_file_is_listed() -> None:
    folder = configs_folder()
    assert {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")} == set(list_configs())


SWEEPS = [name for name in list_configs() if name.startswith(("sweep/", "spaces/"))]
RUNS = [name for name in list_configs() if name not in SWEEPS]


@pytest.mark.parametrize("name", tiered(SWEEPS, {"spaces/reng", "sweep/adamw"}))
def test_dry_run_of_a_sweep(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    ran = grng("sweep", name, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    given = yaml.safe_load(find_config(name).read_text())
    assert document["trials"] == given.get("trials", 20)
    assert set(given.get("space", {})) <= set(document["space"])
    assert document["estimated_seconds"] > 0
    assert not snapshot(workdir)


@pytest.mark.parametrize("name", tiered(RUNS, set(RUNS) - LONG))
def test_dry_run(grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("grng.experiments.estimate.MEASURED_STEPS", 1)
    command = "compare" if name.startswith(("compare/", "paper/")) else "train"
    ran = grng(command, "--config", name, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    given = yaml.safe_load(find_config(name).read_text())
    rows = [row if isinstance(row, str) else row.get("label", row["name"]) for row in given.get("optimizers", [])]
    lists = given.get("workloads", {"models": [0], "datasets": [0]})
    workloads = len(lists["models"]) * len(lists["datasets"])
    assert len(document["runs"]) == max(1, len(rows)) * (given["seeds"] if rows else 1) * workloads
    assert [run["label"] for run in document["runs"]][: len(rows)] == rows
    if name.startswith("paper/") and name not in LONG:  # their data is not here
        assert all(run["estimated_seconds"] is None for run in document["runs"])
    else:
        assert all(run["steps"] > 0 and run["estimated_seconds"] > 0 for run in document["runs"])
    assert not snapshot(workdir)


def test_a_dry_run_without_the_data_says_what_is_missing(grng: Call, workdir: Path) -> None:
    ran = grng("compare", "--config", "paper/cifar10", "--dry-run")
    assert ran.code == 0, ran.err
    assert "21 of 21 runs to do; not measured: torch/cifar10 is not in " in ran.out
    assert ran.out.rstrip().endswith("Nothing was written.")
    assert not snapshot(workdir)


@pytest.mark.parametrize("name", list_configs())
def test_check_and_show(grng: Call, workdir: Path, name: str) -> None:
    assert grng("config", "check", name).out == f"{name}: good\n"
    shown = grng("config", "show", name)
    assert shown.code == 0
    (workdir / "shown.yaml").write_text(shown.out)
    assert grng("config", "show", "shown.yaml").out == shown.out, "what is shown is a config, complete"


@pytest.mark.parametrize(("kind", "key"), [("train", "optimizer"), ("compare", "optimizers"), ("sweep", "space")])
def test_schema(grng: Call, kind: str, key: str) -> None:
    schema = json.loads(grng("config", "schema", kind).out)
    assert key in schema["properties"]
    assert schema["additionalProperties"] is False
