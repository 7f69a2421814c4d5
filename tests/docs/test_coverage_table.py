"""The table of coverage: its counts against the modules themselves, what the first step finds out, and its page."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
from torch import Tensor, nn

from tests.optim.architectures import ARCHITECTURES, Architecture
from tests.oracles.nets import Squares
from tests.oracles.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {one.name: one for one in ARCHITECTURES}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("coverage_table")


class Rough(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Squares.apply(self.head(x.mean(dim=(2, 3))))
        return out


def test_counts_are_those_of_the_model_at_its_real_size(script: ModuleType) -> None:
    covered = script.cover(BY_NAME["test_resnet"])
    model = timm.create_model("test_resnet")
    own = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert covered.parameters == sum(p.numel() for p in model.parameters())
    assert covered.kronecker == sum(p.numel() for module in own for p in module.parameters())
    assert (covered.own, covered.layers) == (len(own), len(own) + len(norms))
    assert covered.rest == (("BatchNorm2d", len(norms), covered.parameters - covered.kronecker),)
    assert covered.double_backprop


def test_layers_that_are_never_called_are_found_in_every_block_of_the_real_model(script: ModuleType) -> None:
    covered = script.cover(BY_NAME["eva02_tiny_patch14_224"])
    model: Any = timm.create_model("eva02_tiny_patch14_224")
    uncalled = [block.attn.qkv for block in model.blocks]
    assert ("Linear not called", len(uncalled), sum(layer.weight.numel() for layer in uncalled)) in covered.rest
    assert covered.kronecker + sum(entries for _, _, entries in covered.rest) == covered.parameters


def test_an_operator_without_a_double_backward_is_told(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Architecture, "create", lambda self: Rough())
    assert not script.has_double_backward(Architecture("rough"))


def test_the_page_has_a_line_for_every_architecture_of_the_test() -> None:
    page = (ROOT / "docs" / "results" / "coverage.md").read_text(encoding="utf-8")
    lines = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert lines[0] == "architecture"
    assert lines[1:] == [one.name for one in ARCHITECTURES]
    assert len(lines) > 45 + len(timm.list_models("test_*"))
