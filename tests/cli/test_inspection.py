"""What there is to choose from: names that the other commands take."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from grng.data.registry import list_datasets
from grng.optim.registry import OptimizerInfo
from grng.optimizers import hyperparameters, list_optimizers
from grng_cli.output import WIDE_TABLE_WIDTH
from grng_cli.summaries.optimizer_page import NEEDS, plain
from tests.cli.conftest import Call

RESULTS = Path(__file__).parents[2] / "docs" / "results"


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
        assert re.search(rf"^{key} ", ran.out, flags=re.MULTILINE)
    assert f"grng train --optimizer {name} --opt " in ran.out


@pytest.mark.parametrize("info", list_optimizers(), ids=lambda info: info.name)
def test_an_optimizers_page_says_all_that_there_is_to_say(grng: Call, info: OptimizerInfo) -> None:
    ran = grng("optimizers", "show", info.name)
    text = " ".join(ran.out.split())
    for part in (info.summary, info.equation, info.kind, info.cost, info.memory, info.measured, info.paper):
        assert part
        assert " ".join(part.split()) in text
    for need in info.needs:
        assert NEEDS[need] in text
    assert info.needs or "nothing but gradients" in text
    for item in info.hyperparameters().values():
        default = plain(list(item.default) if isinstance(item.default, tuple) else item.default)
        for part in (item.type_text, item.meaning.range_text(), item.meaning.text, default):
            assert " ".join(part.split()) in text
    document = json.loads(grng("optimizers", "show", info.name, "--json").out)
    assert (document["equation"], document["needs"]) == (info.equation, list(info.needs))


def test_what_was_measured_is_what_the_benchmark_wrote() -> None:
    rows: dict[str, list[tuple[float, float]]] = {}
    for page in ("step-cost", "step-cost-larger"):
        text = (RESULTS / f"{page}.md").read_text(encoding="utf-8")
        table = text.split("| state B / parameter |", 1)[1].split("\n\n", 1)[0]
        for line in table.splitlines()[2:]:
            _, _, name, _, ratio, _, _, state, _ = (cell.strip() for cell in line.split("|"))
            rows.setdefault(name, []).append((float(ratio), float(state)))
    for info in list_optimizers():
        ratios, states = zip(*rows[info.name], strict=True)
        ends = [f"{end:.1f}" for end in (min(ratios), max(ratios))]
        sizes = [f"{end:.0f}" for end in (min(states), max(states))]
        ratio, state = (" to ".join(dict.fromkeys(pair)) for pair in (ends, sizes))
        assert info.measured == f"{ratio} × AdamW's step, {state} B", info.name


@pytest.mark.parametrize(
    "line", [("optimizers", "list"), ("optimizers", "show", "r-kalman"), ("datasets", "list")], ids=" ".join
)
def test_tables_of_words_fit_an_editor_when_piped(grng: Call, line: tuple[str, ...]) -> None:
    assert max(map(len, grng(*line).out.splitlines())) <= WIDE_TABLE_WIDTH


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
