"""Copies of an optimizer go on like the original, on the copied model, and leave the original alone."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng import RING
from grng.errors import GrngError
from grng.optim.controls import SAM
from grng.optim.reng import RENG
from tests.optim.test_contract import CNN, VARIANTS, make
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, flat, mlp, take_step

WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


def steps(model: nn.Module, optimizer: Any, numbers: range, features: dict[str, Any] = CNN) -> None:
    for step in numbers:
        take_step(model, optimizer, *class_batch(seed=step, **features))


def weights(model: nn.Module) -> Tensor:
    return flat(list(model.parameters()))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_copy_of_model_and_optimizer_goes_on_like_the_original(variant: str) -> None:
    model = SmallCNN()
    optimizer = make(variant, model, seed=5)
    steps(model, optimizer, range(3))
    before = weights(model)
    copies = [copied((model, optimizer)) for copied in WAYS.values()]
    for twin, twins_own in copies:
        steps(twin, twins_own, range(3, 6))
    assert torch.equal(weights(model), before)
    steps(model, optimizer, range(3, 6))
    assert (weights(model) - before).norm() > 1e-4 * before.norm()
    for twin, twins_own in copies:
        assert torch.equal(weights(model), weights(twin))
        assert hooks(twin) == hooks(model)
        twins_own.close()
        assert hooks(twin) == 0


@pytest.mark.parametrize("variant", ["reng", "r-kalman", "r-kalman, loss", "adamw"])
@pytest.mark.parametrize("hold", ["optimizer first", "an object", "the model holds the optimizer"])
def test_how_the_two_are_held_makes_no_difference(variant: str, hold: str) -> None:
    class Holder:
        model: nn.Module
        optimizer: Any

    def copies(model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        if hold == "optimizer first":
            second, first = copy.deepcopy((optimizer, model))
            return first, second
        if hold == "an object":
            holder = Holder()
            holder.model, holder.optimizer = model, optimizer
            copied = copy.deepcopy(holder)
            return copied.model, copied.optimizer
        model.its_optimizer = optimizer
        twin = copy.deepcopy(model)
        return twin, twin.its_optimizer

    model = SmallCNN()
    optimizer = make(variant, model, seed=5)
    steps(model, optimizer, range(3))
    twin, copied = copies(model, optimizer)
    steps(twin, copied, range(3, 6))
    steps(model, optimizer, range(3, 6))
    assert torch.equal(weights(model), weights(twin))


@pytest.mark.parametrize(
    "variant",
    ["kfac", "ring", "reng", "r-kalman", "r-kalman, loss", "sophia-g", "sophia-h", "gr-sgd", "gr-adamw", "sam"],
)
def test_a_copy_of_the_optimizer_alone_brings_a_copy_of_its_model(variant: str) -> None:
    model = SmallCNN()
    optimizer: Any = make(variant, model, seed=5)
    steps(model, optimizer, range(3))
    copied = copy.deepcopy(optimizer)
    assert copied.model is not model
    before = weights(model)
    steps(copied.model, copied, range(3, 6))
    assert torch.equal(weights(model), before)
    steps(model, optimizer, range(3, 6))
    assert torch.equal(weights(model), weights(copied.model))


@pytest.mark.parametrize("variant", ["kfac", "ring", "reng", "r-kalman", "r-kalman, loss", "sophia-g"])
def test_outputs_of_a_model_that_was_copied_apart_are_refused(variant: str) -> None:
    model = mlp()
    optimizer: Any = make(variant, model)
    twin, copied = copy.deepcopy(model), copy.deepcopy(optimizer)
    inputs, targets = class_batch()
    with pytest.raises(GrngError, match=r"none of the optimizer's parameters.*copy.deepcopy\(\(model, optimizer\)\)"):
        copied.observe(twin(inputs), targets)


@pytest.mark.parametrize(
    "variant",
    [
        "ring",
        "reng, corrected",
        "r-kalman, samples",
        "r-kalman, layer",
        "r-kalman, layer, a share",
        "sophia-g",
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_amid_a_step_starts_that_step_anew(variant: str, way: str) -> None:
    model = SmallCNN()
    due = {"sophia-g": {"hessian_interval": 2}, "ring": {"curvature_interval": 2}}  # in the third step
    optimizer = make(variant, model, seed=5, **due.get(variant, {}))
    steps(model, optimizer, range(2))
    inputs, targets = class_batch(seed=2, **CNN)
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    generator = optimizer.generator.get_state()
    twin, copied = WAYS[way]((model, optimizer))
    assert torch.equal(copied.generator.get_state(), generator)
    with pytest.raises(GrngError, match="observe was not called"):
        copied.step()
    F.cross_entropy(outputs, targets).backward(create_graph=optimizer.is_second_order)
    optimizer.step()
    steps(twin, copied, range(2))
    assert torch.isfinite(weights(twin)).all()


def test_a_copy_with_a_scheduler_is_stepped_and_not_the_original() -> None:
    results = []
    for copied_at in (None, 0, 2):
        model = SmallCNN()
        optimizer: Any = RING(model, seed=5)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _halving)
        for step in range(5):
            if step == copied_at:
                old = weights(model), [group["lr"] for group in optimizer.param_groups], model, optimizer
                model, optimizer, scheduler = copy.deepcopy((model, optimizer, scheduler))
            take_step(model, optimizer, *class_batch(seed=step, **CNN))
            with warnings.catch_warnings():
                if copied_at == 0:  # torch's own optimizers give this warning in that case, too
                    warnings.filterwarnings("ignore", message="Seems like `optimizer.step")
                scheduler.step()
        if copied_at is not None:
            assert torch.equal(weights(old[2]), old[0])
            assert [group["lr"] for group in old[3].param_groups] == old[1]
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def _halving(step: int) -> float:
    return 0.5**step


@pytest.mark.parametrize("variant", ["reng", "sophia-h", "gr-sgd", "ring", "r-kalman", "r-kalman, loss"])
def test_forwards_of_a_copied_model_do_not_ask_the_original_optimizer(variant: str) -> None:
    model = SmallAttention()
    optimizer: Any = make(variant, model)
    twin = copy.deepcopy(model)
    asked: list[str] = []
    for attribute in ("_capture", "_partial", "_attention", "_random_state"):
        owner = getattr(optimizer, attribute, None)
        if owner is not None:
            owner._due = lambda attribute=attribute: lambda: asked.append(attribute) or False  # type: ignore[func-returns-value]
    inputs, _ = class_batch(features=(5, 4), classes=3)
    twin(inputs)
    assert asked == []
    model(inputs)
    assert bool(asked) == (variant != "r-kalman, loss")  # which watches no layer


def test_a_copy_does_not_overwrite_the_random_state_of_the_first_pass() -> None:
    results = []
    for disturbed in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 4)).double()
        twin = copy.deepcopy(model)
        optimizer = SAM(model)
        late = copy.deepcopy(model)
        inputs, targets = class_batch()

        def closure(model: nn.Module = model, inputs: Tensor = inputs, targets: Tensor = targets) -> float:
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            return float(loss.detach())

        torch.manual_seed(1)
        outputs = model(inputs)
        if disturbed:
            twin(inputs)
            late(inputs)
        F.cross_entropy(outputs, targets).backward()
        optimizer.step(closure)
        results.append(weights(model))
    assert torch.equal(*results)


def test_copies_of_copies_do_not_gather_hooks() -> None:
    model = SmallAttention()
    counts = []
    for _ in range(4):
        optimizer = RENG(model)
        counts.append(hooks(model))
        model = copy.deepcopy(model)  # the optimizer stays behind
        del optimizer
    assert len(set(counts)) == 1


def test_a_copy_of_the_model_does_not_keep_the_original_alive() -> None:
    import gc
    import weakref

    model = SmallAttention()
    optimizer = RENG(model)
    twin = copy.deepcopy(model)
    gone = weakref.ref(model), weakref.ref(optimizer)
    del model, optimizer
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert hooks(twin) > 0  # idle ones


def test_another_process_goes_on_from_a_pickle(tmp_path: Path) -> None:
    model = SmallCNN()
    optimizer = RENG(model, seed=5)
    steps(model, optimizer, range(2))
    torch.save((model, optimizer), tmp_path / "both.pt")
    program = (
        "import sys, torch\n"
        "from tests.optim.test_copies import steps, weights\n"
        "torch.set_num_threads(1)\n"
        "model, optimizer = torch.load(sys.argv[1], weights_only=False)\n"
        "steps(model, optimizer, range(2, 5))\n"
        "torch.save(weights(model), sys.argv[2])\n"
    )
    arguments = [str(tmp_path / "both.pt"), str(tmp_path / "weights.pt")]
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", program, *arguments], check=True, cwd=root)
    steps(model, optimizer, range(2, 5))
    assert torch.equal(torch.load(tmp_path / "weights.pt"), weights(model))
