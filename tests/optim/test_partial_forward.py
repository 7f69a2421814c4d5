"""The forward that is repeated on a part of the batch: the same activations, the same statistics, no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from grng.errors import GrngError
from grng.optim.kfac import KFAC
from grng.optim.natural import NaturalGradient
from grng.optim.ring import RING
from tests.optim.test_contract import VARIANTS
from tests.optim.test_contract import make as make_variant
from tests.oracles.nets import SmallCNN, class_batch, flat, mlp, take_step


class Late(nn.BatchNorm2d):
    """A norm whose statistics cannot be read off the graph: there is too much between its node and its output."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        for _ in range(4):
            x = x * 1.0
        return x


class Normalised(nn.Module):
    """BatchNorm of every kind: with a built-in activation, called twice, far from its node in the graph, in eval mode."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(2, 4, 3, bias=False)
        self.norm1 = BatchNormAct2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(4)
        self.late = Late(4)
        self.frozen = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.double()
        for module in (self.norm1, self.norm2, self.late, self.frozen):
            module.running_mean.normal_()  # type: ignore[union-attr]

    def train(self, mode: bool = True) -> Normalised:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.norm1(self.conv1(x))
        x = torch.relu(self.norm2(self.conv2(x)))
        x = self.frozen(self.late(self.norm2(self.conv2(x))))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


def repeated(model: nn.Module, optimizer: NaturalGradient, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of a forward, and those of its repetition on a part."""
    outputs = model(inputs)
    part = optimizer._repeated(outputs, optimizer.settings.curvature_batch)
    assert part is not None
    return outputs, part


@pytest.mark.parametrize("make", [Normalised, SmallCNN])
def test_the_part_has_the_activations_of_the_whole(make: Any) -> None:
    model, (inputs, _) = make(), class_batch(features=(2, 9, 8), classes=3, batch=12)
    model.train()
    optimizer = KFAC(model, curvature_batch=0.3)
    outputs, part = repeated(model, optimizer, inputs)
    assert len(part) == 4
    torch.testing.assert_close(part, outputs[:4], rtol=1e-10, atol=1e-12)
    wrong = model(inputs[:4])
    assert make is SmallCNN or not torch.allclose(wrong, outputs[:4], rtol=1e-2)


def test_nothing_is_left_of_it() -> None:
    model, (inputs, targets) = Normalised(), class_batch(features=(2, 9, 8), classes=3, batch=12)
    model.train()
    plain = Normalised()
    plain.train()
    optimizer = KFAC(model, lr=0.0, weight_decay=0.0, curvature_batch=0.3)
    outputs = model(inputs)
    state = torch.get_rng_state()
    optimizer.observe(outputs, targets)
    assert torch.equal(torch.get_rng_state(), state)
    F.cross_entropy(outputs, targets).backward()  # the frozen norm's buffers are in this graph
    expected = F.cross_entropy(plain(inputs), targets)
    expected.backward()
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert torch.equal(own.grad, other.grad)
    for (name, buffer), other_buffer in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other_buffer), name
    assert [module.training for module in model.modules()] == [module.training for module in plain.modules()]
    optimizer.close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("fisher", ["exact", "empirical"])
@pytest.mark.parametrize("other_parameters", ["diagonal", "adamw"])
def test_without_coupled_samples_the_factors_are_those_of_the_first_samples(fisher: Any, other_parameters: Any) -> None:
    inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=10)
    found = []
    for share, batch in ((0.4, 10), (1.0, 4)):
        model = SmallCNN()
        optimizer = KFAC(
            model, lr=0.0, ema=0.0, curvature_batch=share, fisher=fisher, other_parameters=other_parameters, seed=3
        )
        take_step(model, optimizer, inputs[:batch], targets[:batch])
        states = [optimizer.state[p] for p in model.parameters()]
        found.append([state[key] for state in states for key in ("A", "G", "fisher") if key in state])
    assert len(found[0]) >= 8
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_the_whole_graph_serves_where_the_forward_is_not_the_models_own() -> None:
    inputs, targets = class_batch(batch=10)
    found = []
    for whole in (True, False):
        model = mlp()
        optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_batch=0.4, fisher="exact")
        outputs = model(inputs) if whole else model[2](model[1](model[0](inputs)))
        optimizer.observe(outputs, targets)
        F.cross_entropy(outputs, targets).backward()
        optimizer.step()
        found.append([optimizer.state[p][key] for p in model.parameters() if p.dim() == 2 for key in ("A", "G")])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_a_small_part_trains_about_as_well_as_the_whole() -> None:
    losses = []
    for share in (1.0, 0.25):
        model = SmallCNN()
        optimizer = RING(model, lr=0.02, curvature_batch=share, seed=1)
        inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=32)
        for _ in range(40):
            loss = take_step(model, optimizer, inputs, targets)
        losses.append(loss)
    assert losses[1] < 0.5
    assert losses[0] < 0.5


def test_masks_of_its_own_leave_the_random_state_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 4)).double()
    optimizer = KFAC(model, curvature_batch=0.5)
    inputs, _ = class_batch(batch=8)
    outputs = model(inputs)
    state = torch.get_rng_state()
    part = optimizer._repeated(outputs, optimizer.settings.curvature_batch)
    assert part is not None
    assert not torch.equal(part, outputs[:4])
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_does_not_touch_the_random_state_and_finite_differences_keep_their_masks() -> None:
    from grng.optim.reng import RENG

    steps = []
    for share in (1.0, 0.5):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 4)).double()
        optimizer = RENG(model, hvp="finite_difference", rho=0.1, curvature_batch=share)
        inputs, targets = class_batch(batch=8)
        take_step(model, optimizer, inputs, targets)
        steps.append(optimizer._random_state.state[0])  # type: ignore[index]
    assert torch.equal(*steps)
    assert flat(list(model.parameters())).isfinite().all()


def test_the_repeated_forward_runs_under_the_autocast_of_the_first() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
    seen: list[torch.dtype] = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    optimizer = KFAC(model, curvature_batch=0.5)
    inputs, targets = torch.randn(8, 5).bfloat16(), torch.randint(0, 4, (8,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(inputs)
    optimizer.observe(outputs, targets)
    F.cross_entropy(outputs, targets).backward()
    optimizer.step()
    assert seen == [torch.bfloat16] * 2


def test_checkpointed_activations_are_measured_on_the_whole_graph() -> None:
    class Checkpointed(SmallCNN):
        def __init__(self) -> None:
            super().__init__()
            self.batch_norm = nn.BatchNorm2d(2).double()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = checkpoint(
                lambda x: super(Checkpointed, self).forward(self.batch_norm(x)), x, use_reentrant=False
            )
            return out

    model = Checkpointed()
    optimizer = KFAC(model, curvature_batch=0.5)
    inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=8)
    take_step(model, optimizer, inputs, targets)
    assert all("A" in optimizer.state[layer.weight] for layer in optimizer._partition.layers)


def test_outputs_of_an_earlier_forward_are_not_taken_for_the_last_ones() -> None:
    model, (inputs, targets) = mlp(), class_batch(batch=8)
    optimizer = KFAC(model, curvature_batch=0.5)
    outputs = model(inputs)
    model(100 * inputs)
    with pytest.raises(GrngError, match="last forward"):
        optimizer.observe(outputs, targets)


REPEATING = [*(v for v in VARIANTS if v.startswith(("kfac", "ring", "reng"))), "r-kalman, layer"]


@pytest.mark.parametrize("variant", REPEATING)
def test_observing_after_the_backward_measures_the_same_bit_for_bit(variant: str) -> None:
    found = []
    for late in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(Normalised(), nn.Dropout(0.5)).train()
        often = {} if variant.startswith("r-kalman") else {"curvature_interval": 1}
        optimizer = make_variant(variant, model, seed=1, curvature_batch=0.3, **often)
        for step in range(3):
            inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=12, seed=step)

            def closure(model: nn.Module = model, inputs: Tensor = inputs, targets: Tensor = targets) -> float:
                loss = F.cross_entropy(model(inputs), targets)
                loss.backward()
                return float(loss.detach())

            outputs = model(inputs)
            loss = F.cross_entropy(outputs, targets)
            if not late:
                optimizer.observe(outputs, targets)
            loss.backward(create_graph=optimizer.is_second_order)
            if late:
                optimizer.observe(outputs, targets)
            optimizer.step(closure if optimizer.needs_closure else None)
            optimizer.zero_grad()
        states = [optimizer.state[p] for p in model.parameters()]
        measured = [state[key] for state in states for key in ("A", "G", "fisher", "rows") if key in state]
        assert measured
        found.append(flat([*model.parameters(), *model.buffers(), *measured]))
    assert torch.equal(*found)


def test_a_forward_that_changes_its_input_is_not_repeated_on_what_it_left() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(5, 4).double()

        def forward(self, x: Tensor) -> Tensor:
            x -= 0.5
            out: Tensor = self.head(2.0 * x)
            return out

    model, (inputs, targets) = Centred(), class_batch(batch=8)
    rows = torch.cat([2.0 * (inputs[:4] - 0.5), torch.ones(4, 1, dtype=torch.float64)], dim=1)
    optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_batch=0.5)
    take_step(model, optimizer, inputs, targets)
    torch.testing.assert_close(optimizer.state[model.head.weight]["A"][0], rows.mT @ rows / 4)


def test_inputs_overwritten_after_the_backward_are_not_measured() -> None:
    model, (inputs, targets) = mlp(), class_batch(batch=8)
    hidden = torch.cat([torch.tanh(model[0](inputs[:4])), torch.ones(4, 1, dtype=torch.float64)], dim=1).detach()
    optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_batch=0.5)
    outputs = model(inputs)
    F.cross_entropy(outputs, targets).backward()
    inputs.mul_(2.0)
    optimizer.observe(outputs, targets)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[model.get_parameter("2.weight")]["A"][0], hidden.mT @ hidden / 4)
    reasons = {row.parameter: row.reason for row in optimizer.coverage().rows}
    assert reasons["0.weight"] == "Linear whose input is changed in place after it"


def test_weights_changed_after_the_backward_are_not_measured() -> None:
    model, (inputs, targets) = mlp(), class_batch(batch=8)
    optimizer = KFAC(model, curvature_batch=0.5)
    outputs = model(inputs)
    F.cross_entropy(outputs, targets).backward()
    with torch.no_grad():
        model.get_parameter("0.weight").mul_(2.0)
    with pytest.raises(GrngError, match="called after backward"):
        optimizer.observe(outputs, targets)


def test_inputs_made_in_inference_mode_are_taken_too() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(5, 4).double()

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            out: Tensor = self.head(x.masked_fill(mask.clone(), 0.0))
            return out

    model, (inputs, targets) = Masked(), class_batch(batch=8)
    with torch.inference_mode():
        mask = inputs > 1.0
    rows = torch.cat([inputs[:4].masked_fill(mask[:4], 0.0), torch.ones(4, 1, dtype=torch.float64)], dim=1)
    optimizer = KFAC(model, lr=0.0, ema=0.0, curvature_batch=0.5)
    outputs = model(inputs, mask)
    optimizer.observe(outputs, targets)
    F.cross_entropy(outputs, targets).backward()
    optimizer.step()
    torch.testing.assert_close(optimizer.state[model.head.weight]["A"][0], rows.mT @ rows / 4)


def test_a_layer_that_the_repeated_forward_drops_keeps_its_rule() -> None:
    class Dropping(nn.Module):
        """Leaves its second layer out of every forward but the first of a step."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4)
            self.calls = 0
            self.double()

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            x = torch.tanh(self.first(x))
            if self.calls % 2 == 1:
                x = x + self.second(x)
            out: Tensor = self.head(x)
            return out

    model, (inputs, targets) = Dropping(), class_batch(batch=8)
    optimizer = RING(model, curvature_batch=0.5, curvature_interval=1)
    for _ in range(3):
        take_step(model, optimizer, inputs, targets)
    assert {row.rule for row in optimizer.coverage().rows} == {"kronecker"}


def test_the_corrections_data_keep_no_graph() -> None:
    model, (inputs, targets) = mlp(), class_batch(batch=8)
    optimizer = KFAC(model, curvature_batch=0.5, damping_form="exact", eigenvalue_correction=True)
    optimizer.observe(model(inputs), targets)
    passes = [one for squares in optimizer._statistics.squares.values() for one in squares._passes]
    assert len(passes) == 2
    kept = [value for one in passes for use in one.uses for value in use]
    assert {type(value) for value in kept} == {Tensor, int}
    assert not any(value.requires_grad for value in kept if isinstance(value, Tensor))
