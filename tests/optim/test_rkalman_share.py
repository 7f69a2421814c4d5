"""R-Kalman's rows from a share of the batch: those of its first samples alone, with the whole batch's statistics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from grng.curvature.sample_groups import SampleGroups
from grng.errors import GrngError
from grng.optim.rkalman import RKalman
from tests.oracles.dense import per_sample_gradients
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, flat, mlp, take_step

CNN: dict[str, Any] = {"features": (2, 9, 8), "classes": 3}


class Coupled(nn.Sequential):
    """BatchNorm behind a convolution and behind another one, whose samples are coupled by it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        )
        self.double()


class Checkpointed(Coupled):
    """Runs again in the backward, where the batch's statistics can no longer be held."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return out


def kept_rows(optimizer: RKalman) -> dict[str, Tensor]:
    """H of every layer, by the parameter's name; what was never written is zero."""
    return {
        name: optimizer.state[p]["rows"]
        for name, p in optimizer.model.named_parameters()
        if "rows" in optimizer.state[p]
    }


def at_fixed_statistics(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A twin in eval mode whose BatchNorm layers normalise with this batch's mean and biased variance."""
    twin = Coupled()
    twin.load_state_dict(model.state_dict())

    def measure(norm: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        (x,) = args
        norm.running_mean = x.detach().mean(dim=(0, 2, 3))
        norm.running_var = x.detach().var(dim=(0, 2, 3), correction=0)

    handles = [norm.register_forward_hook(measure) for norm in twin if isinstance(norm, nn.BatchNorm2d)]
    twin(inputs)
    for handle in handles:
        handle.remove()
    return twin.eval()


@pytest.mark.parametrize(
    ("make", "batch"), [(mlp, {}), (SmallCNN, CNN), (SmallAttention, {"features": (5, 4), "classes": 3})]
)
@pytest.mark.parametrize(("share", "rows"), [(0.3, 3), (0.35, 2), (0.1, 4), (0.7, 4)])
def test_the_rows_are_those_of_the_first_samples_alone(
    make: Any, batch: dict[str, Any], share: float, rows: int
) -> None:
    parts, whole = [make(), make()]
    own = RKalman(parts, rows=rows, memory=3, curvature_batch=share, lr=0.0, other_lr=0.0, seed=3)
    alone = RKalman(whole, rows=rows, memory=3, curvature_batch=1.0, lr=0.0, other_lr=0.0, seed=3)
    for step in range(2):
        inputs, targets = class_batch(**batch, batch=10, seed=step)
        first = math.ceil(share * 10)
        take_step(parts, own, inputs, targets)
        take_step(whole, alone, inputs[:first], targets[:first])
    found, expected = kept_rows(own), kept_rows(alone)
    assert len(found) == sum(isinstance(module, nn.Linear | nn.Conv2d) for module in parts.modules())
    assert all(float(found[name].norm()) > 0 for name in found)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [4, 3])
def test_with_batch_norm_the_rows_are_those_at_the_whole_batch_s_statistics(rows: int) -> None:
    model, (inputs, targets) = Coupled(), class_batch(**CNN, batch=10)
    twin = at_fixed_statistics(model, inputs)
    optimizer = RKalman(model, rows=rows, memory=2, curvature_batch=0.4, seed=3)
    draws = torch.Generator().manual_seed(3)
    probabilities = twin(inputs[:4]).detach().softmax(dim=1)
    uniforms = torch.rand(4, generator=draws, dtype=torch.float64)
    labels = (uniforms[:, None] > probabilities.cumsum(dim=1)).sum(dim=1)
    each = per_sample_gradients(twin, inputs[:4], probabilities - F.one_hot(labels, 3))
    sizes = list(SampleGroups.split(4, rows).sizes)
    take_step(model, optimizer, inputs, targets)
    found = kept_rows(optimizer)
    assert set(found) == {"0.weight", "3.weight", "8.weight"}
    for name, own in found.items():
        groups = [part.sum(dim=0).flatten() / math.sqrt(len(part)) for part in each[name].split(sizes)]
        torch.testing.assert_close(own[: len(sizes)], torch.stack(groups), rtol=1e-12, atol=1e-12)
        assert not own[rows:].any()
    unlike = RKalman(Coupled(), rows=rows, memory=2, curvature_batch=1.0, seed=3)  # the statistics of four samples
    take_step(unlike.model, unlike, inputs[:4], targets[:4])
    assert not torch.allclose(kept_rows(unlike)["0.weight"], found["0.weight"], rtol=1e-2)


def by_hand(model: nn.Module, inputs: Tensor) -> Tensor:
    """A forward that is not the model's own call."""
    assert isinstance(model, nn.Sequential)
    for module in model:
        inputs = module(inputs)
    return inputs


@pytest.mark.parametrize(("make", "forward"), [(mlp, by_hand), (Coupled, by_hand), (Checkpointed, None)])
def test_where_the_forward_cannot_be_repeated_the_whole_batch_is_observed(make: Any, forward: Any) -> None:
    results = []
    inputs, targets = class_batch(**({} if make is mlp else CNN), batch=10)
    for share in (0.3, 1.0):
        model = make()
        optimizer = RKalman(model, rows=5, memory=2, curvature_batch=share, seed=3)
        for _ in range(2):
            outputs = model(inputs) if forward is None else forward(model, inputs)
            optimizer.observe(outputs, targets)
            F.cross_entropy(outputs, targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert all(optimizer.state[layer.weight]["filled"] == [5, 5] for layer in optimizer.watched)
        results.append((flat(list(model.parameters())), kept_rows(optimizer)))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=0)


def test_the_random_state_and_the_running_statistics_are_left_as_they_were() -> None:
    states = []
    for share in (1.0, 0.3):
        model = nn.Sequential(Coupled(), nn.Dropout(0.5), nn.Linear(3, 3).double())
        optimizer = RKalman(model, curvature_batch=share, lr=0.0, other_lr=0.0)
        torch.manual_seed(5)
        for step in range(3):
            take_step(model, optimizer, *class_batch(**CNN, batch=10, seed=step))
        states.append([torch.get_rng_state(), *model.buffers()])
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("make", [SmallCNN, Coupled])
def test_a_checkpoint_goes_on_bit_for_bit(make: Any, on_disk: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"rows": 3, "memory": 3, "curvature_batch": 0.4}

    def run(model: nn.Module, optimizer: RKalman, steps: range) -> None:
        for step in steps:
            take_step(model, optimizer, *class_batch(**CNN, batch=10, seed=step))

    straight, first, second = make(), make(), make()
    optimizer = RKalman(straight, **options, seed=5)
    run(straight, optimizer, range(10))
    halfway = RKalman(first, **options, seed=5)
    run(first, halfway, range(5))
    saved = {"model": first.state_dict(), "optimizer": halfway.state_dict()}
    if on_disk:
        torch.save(saved, tmp_path / "checkpoint.pt")
        saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    second.load_state_dict(saved["model"])
    resumed = RKalman(second, **options, seed=6)
    resumed.load_state_dict(saved["optimizer"])
    run(first, halfway, range(5, 10))  # what was loaded is no longer its own
    run(second, resumed, range(5, 10))
    for (name, mine), (_, theirs) in zip(second.state_dict().items(), straight.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name
    torch.testing.assert_close(kept_rows(resumed), kept_rows(optimizer), rtol=0, atol=0)
    for p, q in zip(second.parameters(), straight.parameters(), strict=True):
        assert {k: resumed.state[p][k] for k in ("filled", "block") if k in resumed.state[p]} == {
            k: optimizer.state[q][k] for k in ("filled", "block") if k in optimizer.state[q]
        }


def test_micro_batches_give_the_rows_of_the_first_samples_of_each() -> None:
    model, twin = SmallCNN(), SmallCNN()
    options: dict[str, Any] = {"rows": 4, "memory": 2, "lr": 0.0, "other_lr": 0.0, "seed": 1}
    shared, whole = RKalman(model, **options, curvature_batch=0.5), RKalman(twin, **options, curvature_batch=1.0)
    inputs, targets = class_batch(**CNN, batch=16)
    for start in (0, 8):
        outputs = model(inputs[start : start + 8])
        shared.observe(outputs, targets[start : start + 8])
        F.cross_entropy(outputs, targets[start : start + 8]).backward()
        first = twin(inputs[start : start + 4])
        whole.observe(first, targets[start : start + 4])
        F.cross_entropy(first, targets[start : start + 4]).backward()
    shared.step()
    whole.step()
    assert all(shared.state[layer.weight]["filled"] == [4, 0] for layer in shared.watched)
    torch.testing.assert_close(kept_rows(shared), kept_rows(whole), rtol=1e-12, atol=1e-12)


def test_outputs_of_an_earlier_forward_are_not_taken_for_the_last_ones() -> None:
    model, (inputs, targets) = mlp(), class_batch(batch=8)
    optimizer = RKalman(model)
    outputs = model(inputs)
    model(100 * inputs)
    with pytest.raises(GrngError, match="last forward"):
        optimizer.observe(outputs, targets)


def test_observing_after_the_backward_gives_the_same_rows() -> None:
    found = []
    for after in (False, True):
        model, (inputs, targets) = SmallCNN(), class_batch(**CNN, batch=10)
        optimizer = RKalman(model, curvature_batch=0.4, seed=1)
        outputs = model(inputs)
        loss = F.cross_entropy(outputs, targets)
        if after:
            loss.backward()
        optimizer.observe(outputs, targets)
        if not after:
            loss.backward()
        optimizer.step()
        found.append(kept_rows(optimizer))
    torch.testing.assert_close(*found, rtol=0, atol=0)
