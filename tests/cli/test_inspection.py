"""What there is to choose from: names that the other commands take."""

from __future__ import annotations

import json

import pytest

from grng.data.registry import list_datasets
from grng.optimizers import hyperparameters, list_optimizers
from tests.cli.conftest import Call


def test_optimizers(grng: Call) -> None:
    ran = grng("optimizers", "list")
    names = [info.name for info in list_optimizers()]
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines() if line.split() and line.split()[0] in names] == names
    assert [row["name"] for row in json.loads(grng("optimizers", "list", "--json").out)] == names


@pytest.mark.parametrize("name", ["ring", "sgd", "timm:lamb"])
def test_an_optimizers_hyperparameters(grng: Call, name: str) -> None:
    ran = grng("optimizers", "show", name)
    known = hyperparameters(name)
    document = json.loads(grng("optimizers", "show", name, "--json").out)
    assert [row["name"] for row in document["hyperparameters"]] == list(known)
    for key in known:
        assert f" {key} " in ran.out
    assert f"grng train --optimizer {name} --opt " in ran.out


def test_models(grng: Call) -> None:
    names = grng("models", "list", "test_vi*").out.splitlines()
    assert "test_vit" in names
    assert all(name.startswith("test_vi") for name in names)
    assert json.loads(grng("models", "list", "test_vi*", "--json").out) == names
    ran = grng("models", "list", "no-such-*")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: no model of timm matches 'no-such-*'.\n")


def test_datasets(grng: Call) -> None:
    ran = grng("datasets", "list")
    for info in list_datasets():
        assert f" {info.name} " in ran.out
        assert f"{info.train:,}/{info.val:,}/{info.test:,}" in ran.out
    rows = json.loads(grng("datasets", "list", "--json").out)
    assert {row["name"] for row in rows if "train" in row} == {"mnist5k", "digits", "sphere"}
