"""Rows of a comparison that take the best of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grng.errors import ConfigError
from grng.experiments.compare_config import CompareConfig
from grng.experiments.tuning.tuned import tuning_notes
from grng.runs.loading import load_config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, optimizer, trials in (("a", "ring", 8), ("b", "adamw", 8), ("c", "sgd", 3)):
        write(tmp_path / "runs" / name, optimizer, {"lr": 0.01, "weight_decay": 0.2}, trials)
    return tmp_path


def write(folder: Path, optimizer: str, values: dict[str, Any] | None, trials: int = 4) -> None:
    folder.mkdir(parents=True)
    counts = {"finished": trials, "diverged": 0, "failed": 0, "running": 2}
    best = None if values is None else {"values": values}
    found = {"optimizer": optimizer, "model": "test_vit", "dataset": "digits", "counts": counts, "best": best}
    (folder / "sweep.json").write_text(json.dumps(found))


def load(optimizers: str) -> CompareConfig:
    return load_config(CompareConfig, overrides=[("optimizers", optimizers, "--optimizers")]).config


def test_a_row_takes_the_best_of_a_sweep(folder: Path) -> None:
    config = load("sgd,ring@runs/a,ring@runs/a[lr=0.5]")
    rows = [(spec.label, spec.name, spec.hyperparameters) for spec in config.specs]
    assert rows[0] == ("sgd", "sgd", {})
    assert rows[1] == ("ring@a", "ring", {"lr": 0.01, "weight_decay": 0.2})
    assert rows[2] == ("ring@a[lr=0.5]", "ring", {"lr": 0.5, "weight_decay": 0.2})


def test_in_a_file_it_is_a_key(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "optimizers: [{name: ring, sweep: runs/a, rho: 0.5, label: mine}, adamw@runs/b]\n"
    )
    config = load_config(CompareConfig, files=[folder / "mine.yaml"]).config
    assert config.specs[0].hyperparameters == {"lr": 0.01, "weight_decay": 0.2, "rho": 0.5}
    assert [spec.label for spec in config.specs] == ["mine", "adamw@b"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("ring@nowhere", "there is no sweep in nowhere. Do it first: grng sweep --optimizer ring --output nowhere."),
        ("sgd@runs/a", "the sweep in runs/a is of ring, not of sgd."),
        ("ring@bad", "bad/sweep.json is no summary of a sweep."),
        ("ring@none", "no trial of the sweep in none finished, so it has no best."),
        ("ring@keys", "the sweep in keys searched training.warmup, which all rows of a comparison share."),
    ],
)
def test_what_is_no_tuned_row(folder: Path, row: str, said: str) -> None:
    (folder / "bad").mkdir()
    (folder / "bad" / "sweep.json").write_text("[]")
    write(folder / "none", "ring", None)
    write(folder / "keys", "ring", {"lr": 0.1, "training.warmup": 3})
    with pytest.raises(ConfigError) as caught:
        load(f"adamw,{row}")
    assert said in str(caught.value)
    assert str(caught.value).startswith("--optimizers")


def test_whether_all_were_tuned_alike_is_said(folder: Path) -> None:
    def notes(text: str, model: str = "test_vit") -> list[str]:
        entries = load(text).optimizers
        rows = {entry.spec.label: entry.sweep for entry in entries}
        return tuning_notes(rows, [entry.name for entry in entries], model=model, dataset="digits")

    assert notes("ring,adamw") == []
    assert notes("ring@runs/a,adamw@runs/b") == ["tuned, 8 trials each: ring@a, adamw@b"]
    assert notes("ring@runs/a,sgd@runs/c,adamw") == [
        "the rows were tuned with different numbers of trials: ring@a 8, sgd@c 3",
        "not tuned here: adamw",
    ]
    assert "ring@a was tuned on another workload: test_vit on digits" in notes("ring@runs/a", model="resnet18")
