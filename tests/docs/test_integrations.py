"""The loops of Lightning and of the Hugging Face Trainer take the steps of a loop of one's own, bit for bit."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import GrngError
from grng.optimizers import create_optimizer
from tests.docs.blocks import DOCS, run_blocks
from tests.oracles.nets import flat

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def _their_own_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page's names, after it has run as it stands."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("page"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            return run_blocks(DOCS / "integrations.md")
    finally:
        os.chdir(before)


def plain_loop(model: nn.Module, batches: Batches, name: str, *, parts: int = 1, **options: Any) -> Tensor:
    """Train on the batches, `parts` of them to a step, and return the weights."""
    model.train()
    optimizer: Any = create_optimizer(name, model, **options)
    for start in range(0, len(batches), parts):
        for x, y in batches[start : start + parts]:

            def closure(x: Tensor = x, y: Tensor = y) -> float:
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return float(loss.detach())

            outputs = model(x)
            optimizer.observe(outputs, y)
            (F.cross_entropy(outputs, y) / parts).backward(create_graph=optimizer.is_second_order)
        optimizer.step(closure if optimizer.needs_closure else None)
        optimizer.zero_grad()
    return flat(list(model.parameters()))


@pytest.mark.parametrize(
    ("kind", "name", "options", "parts"),
    [
        ("Classifier", "adamw", {}, 1),
        ("Classifier", "ring", {"curvature_interval": 1}, 1),
        ("Classifier", "ring", {"curvature_interval": 1}, 2),
        ("Classifier", "reng", {}, 1),
        ("Classifier", "r-kalman", {}, 1),
        ("ManualClassifier", "ring", {}, 1),
        ("ManualClassifier", "reng", {"hvp": "finite_difference"}, 1),
        ("ManualClassifier", "sam", {}, 1),
    ],
)
def test_lightning(page: dict[str, Any], kind: str, name: str, options: dict[str, Any], parts: int) -> None:
    module = page[kind](name, **options)
    model = copy.deepcopy(module.net)
    start = flat(list(model.parameters()))
    trainer = page["lightning_trainer"](**({"accumulate_grad_batches": parts} if parts > 1 else {}))
    trainer.fit(module, page["batches"])
    expected = plain_loop(model, [(x, y) for x, y in page["batches"]], name, parts=parts, **options)
    assert trainer.global_step == 4 // parts
    assert torch.equal(flat(list(module.net.parameters())), expected)
    assert (expected - start).norm() > 1e-4 * start.norm()


def test_lightnings_wrapper_is_told_from_the_optimizer(page: dict[str, Any]) -> None:
    base: Any = page["Classifier"]

    class Wrong(base):  # type: ignore[misc]
        def training_step(self, batch: Any, index: int) -> Tensor:
            outputs = self.net(batch[0])
            self.optimizers().observe(outputs, batch[1])
            return F.cross_entropy(outputs, batch[1])

    with pytest.raises(GrngError, match=r"LightningRING, which wraps.*self.optimizers\(use_pl_optimizer=False\)"):
        page["lightning_trainer"]().fit(Wrong("ring"), page["batches"])


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("adamw", {}, 1),
        ("ring", {"curvature_interval": 1}, 1),
        ("ring", {"curvature_interval": 1}, 2),
        ("reng", {}, 1),
        ("reng", {}, 2),
    ],
)
def test_hugging_face(
    page: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any],
    parts: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: Batches = []

    base: Any = page["ObservingTrainer"]

    class Recording(base):  # type: ignore[misc]
        def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            seen.append((inputs["x"], inputs["labels"]))
            return super().compute_loss(model, inputs, *args, **kwargs)

    model = page["small_vit"]()
    twin, start = copy.deepcopy(model), flat(list(model.parameters()))
    optimizer = create_optimizer(name, model, **options)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = Recording(
        model=model,
        args=page["arguments"](gradient_accumulation_steps=parts),
        train_dataset=[{"x": x, "labels": y} for x, y in zip(page["images"], page["labels"], strict=True)],
        optimizers=(optimizer, constant),
    )
    trainer.train()
    assert len(seen) == 4
    expected = plain_loop(twin, seen, name, parts=parts, **options)
    assert torch.equal(flat(list(model.parameters())), expected)
    assert (expected - start).norm() > 1e-4 * start.norm()


def test_hugging_face_without_a_closure(page: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = page["small_vit"]()
    trainer = page["ObservingTrainer"](
        model=model,
        args=page["arguments"](),
        train_dataset=[{"x": x, "labels": y} for x, y in zip(page["images"], page["labels"], strict=True)],
        optimizers=(create_optimizer("sam", model), None),
    )
    with pytest.raises(GrngError, match="sam needs a closure"):
        trainer.train()
