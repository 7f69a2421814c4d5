"""Oracle 19, mixed precision: autocast, half-precision weights and GradScaler give every optimizer a working step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.errors import GrngError
from grng.optim.loss_scale import scaled_double_backprop
from grng.optim.outputs_pass import FLOAT16_SCALE, gradients_of_outputs
from grng.optimizers import create_optimizer
from tests.optim.test_contract import VARIANTS, make
from tests.oracles.nets import SmallCNN, class_batch, flat, mlp, take_step

OURS = [variant for variant in VARIANTS if not variant.startswith("timm:")]
STATISTICS = ("A", "G", "fisher", "covariance", "hessian", "rows", "gram")
KEPT = (
    *STATISTICS,
    "eigenvalues",
    "A_inverse",
    "G_inverse",
    "A_vectors",
    "G_vectors",
    "momentum_buffer",
    "exp_avg",
    "exp_avg_sq",
)
TORCHS_OWN = ("sgd", "adamw", "gr-sgd", "gr-adamw", "sam")  # their state is kept by torch's classes


class SmoothCNN(SmallCNN):
    """In float32, without kinks: rounding then changes a gradient by no more than rounding's size."""

    def __init__(self) -> None:
        super().__init__()
        self.act1, self.act2, self.act3 = nn.Tanh(), nn.Tanh(), nn.Tanh()  # type: ignore[assignment]
        self.float()


def cnn_batch(batch: int = 16, seed: int = 1) -> tuple[Tensor, Tensor]:
    inputs, targets = class_batch(features=(2, 9, 8), classes=3, batch=batch, seed=seed)
    return inputs.float(), targets


def step(
    model: nn.Module,
    optimizer: Any,
    batch: tuple[Tensor, Tensor],
    *,
    autocast: torch.dtype | None = None,
    inside: bool = False,
    scaler: Any = None,
    between: Callable[[], None] = lambda: None,
) -> None:
    """One step of the documented loop; `between` is called after the backward."""
    inputs, targets = batch
    scale = (lambda loss: loss) if scaler is None else scaler.scale

    def forward() -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            outputs = model(inputs)
            return outputs, F.cross_entropy(outputs, targets)

    def closure() -> float:
        _, loss = forward()
        scale(loss).backward()
        return float(loss.detach())

    outputs, loss = forward()
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None and inside):
        optimizer.observe(outputs, targets)
    scale(loss).backward(create_graph=optimizer.is_second_order)
    between()
    second = closure if optimizer.needs_closure else None
    if scaler is None:
        optimizer.step(second)
    else:
        scaler.step(optimizer, second)
        scaler.update()
    optimizer.zero_grad()


def change(before: list[Tensor], model: nn.Module) -> Tensor:
    return flat(list(model.parameters())).float() - flat(before)


def one_step(variant: str, dtype: torch.dtype, *, weights: bool = False, inside: bool = False) -> tuple[Tensor, Any]:
    """The change of all weights in a first step, with forward (or everything) in `dtype`; and the optimizer."""
    model = SmoothCNN()
    before = [p.detach().clone() for p in model.parameters()]
    inputs, targets = cnn_batch()
    if weights:
        model.to(dtype)
    optimizer = make(variant, model)
    if weights:
        take_step(model, optimizer, inputs.to(dtype), targets, loss=lambda z, y: F.cross_entropy(z.float(), y))
    else:
        step(model, optimizer, (inputs, targets), autocast=None if dtype == torch.float32 else dtype, inside=inside)
    return change(before, model), optimizer


def check_state(optimizer: Any, reference: Any, tolerance: float) -> None:
    """State is in float32 or better, and what was measured is what float32 measures."""
    for mine, theirs in zip(flat_state(optimizer), flat_state(reference), strict=True):
        assert mine.keys() == theirs.keys()
        for key in set(KEPT) & set(mine):
            assert mine[key].dtype == torch.float32, key
            if key in STATISTICS:
                error = float((mine[key] - theirs[key]).norm() / theirs[key].norm())
                assert error < tolerance, f"{key}: {error}"


def flat_state(optimizer: Any) -> list[dict[str, Any]]:
    return [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize(
    ("dtype", "rounding", "inside"),
    [(torch.bfloat16, 0.04, False), (torch.bfloat16, 0.04, True), (torch.float16, 0.006, True)],
)
@pytest.mark.parametrize("variant", OURS)
def test_autocast_gives_the_float32_step_and_float32_factors(
    variant: str, dtype: torch.dtype, rounding: float, inside: bool
) -> None:
    expected, reference = one_step(variant, torch.float32)
    found, optimizer = one_step(variant, dtype, inside=inside)
    assert float((found - expected).norm() / expected.norm()) < rounding
    check_state(optimizer, reference, rounding)


# torch's AdamW in float16 divides by an eps of 1e-8, which is 0 there
@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        (variant, dtype)
        for dtype in (torch.bfloat16, torch.float16)
        for variant in OURS
        if dtype == torch.bfloat16 or not variant.startswith(("adamw", "gr-adamw"))
    ],
)
def test_half_precision_weights_take_the_float32_step_as_far_as_they_can_hold_it(
    variant: str, dtype: torch.dtype
) -> None:
    expected, reference = one_step(variant, torch.float32)
    found, optimizer = one_step(variant, dtype, weights=True)
    start = flat(list(SmoothCNN().parameters()))
    # weights are rounded before and after, and the gradient is
    allowed = 2 * torch.finfo(dtype).eps * start.abs() + 40 * torch.finfo(dtype).eps * expected.abs().max()
    assert bool(((found - expected).abs() <= allowed).all())
    if not variant.startswith(TORCHS_OWN):
        check_state(optimizer, reference, 0.04)


@pytest.mark.parametrize("variant", OURS)
def test_a_loss_scale_changes_no_step_bit_for_bit(variant: str) -> None:
    found = []
    for scale in (None, 2.0**12):
        model = SmoothCNN()
        optimizer = make(variant, model)
        optimizer.collect_diagnostics = True
        scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
        for seed in range(3):
            step(model, optimizer, cnn_batch(seed=seed), scaler=scaler)
        found.append((flat(list(model.parameters())), optimizer.diagnostics()))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def clip(model: nn.Module) -> None:
    assert float(nn.utils.clip_grad_norm_(model.parameters(), 0.1)) > 0.1


@pytest.mark.parametrize("variant", OURS)
def test_unscale_and_clipping_work_in_steps_with_one_pass_and_are_refused_in_others(variant: str) -> None:
    found = []
    for scaled in (False, True):
        model = SmoothCNN()
        optimizer = make(variant, model)
        scaler: Any = torch.amp.GradScaler("cpu", init_scale=2.0**12)

        def between(
            model: nn.Module = model, optimizer: Any = optimizer, scaler: Any = scaler, s: bool = scaled
        ) -> None:
            if s:
                scaler.unscale_(optimizer)
            clip(model)

        if optimizer.is_second_order or optimizer.needs_closure:
            if not scaled:
                continue
            with pytest.raises(GrngError, match="Leave unscale_"):
                step(model, optimizer, cnn_batch(), scaler=scaler, between=between)
            scaler.update()
            optimizer.zero_grad()
            step(model, optimizer, cnn_batch(), scaler=scaler)  # and nothing of it is left
            assert not hasattr(optimizer, "grad_scale")
            assert bool(flat(list(model.parameters())).isfinite().all())
        else:
            step(model, optimizer, cnn_batch(), scaler=scaler if scaled else None, between=between)
            found.append(flat(list(model.parameters())))
    assert not found or torch.equal(*found)


@pytest.mark.parametrize("variant", OURS)
def test_an_overflow_skips_the_step_and_leaves_no_trace(variant: str) -> None:
    found = []
    for overflow in (False, True):
        model = SmoothCNN()
        optimizer = make(variant, model)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        if overflow:
            before = flat(list(model.parameters()))
            calls: list[int] = []
            handle = model.register_forward_pre_hook(partial(note, calls))

            def between(model: nn.Module = model, calls: list[int] = calls) -> None:
                poison(model)
                calls.clear()

            step(model, optimizer, cnn_batch(batch=8, seed=9), scaler=scaler, between=between)
            handle.remove()
            assert not calls  # no closure was called
            assert torch.equal(flat(list(model.parameters())), before)
            assert scaler.get_scale() == 2.0**11
            if hasattr(optimizer, "generator"):
                optimizer.generator.manual_seed(0)  # what is drawn next was drawn for the skipped step
        for seed in range(2):
            step(model, optimizer, cnn_batch(seed=seed), scaler=scaler)
        found.append(flat(list(model.parameters())))
        if overflow:  # a step with one pass of a torch class is skipped by the scaler alone
            one_pass = variant in ("sgd", "adamw", "gr-adamw, every third step")
            assert optimizer.skipped_steps == (0 if one_pass else 1)
            assert getattr(optimizer, "steps", 2) == 2
    assert torch.equal(*found)


def note(calls: list[int], module: nn.Module, args: Any) -> None:
    calls.append(1)


@torch.no_grad()
def poison(model: nn.Module) -> None:
    parameter = next(p for p in model.parameters() if p.grad is not None)
    assert parameter.grad is not None
    parameter.grad.view(-1)[0] = torch.inf


@pytest.mark.parametrize("variant", ["sam", "reng, finite difference", "gr-sgd, finite difference"])
def test_an_overflow_in_the_second_pass_skips_the_step(variant: str) -> None:
    model = SmoothCNN()
    optimizer = make(variant, model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    inputs, targets = cnn_batch()
    before = flat(list(model.parameters()))

    def closure() -> float:
        loss = F.cross_entropy(model(inputs), targets)
        scaler.scale(loss).backward()
        poison(model)
        return float(loss.detach())

    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    scaler.scale(F.cross_entropy(outputs, targets)).backward()
    scaler.step(optimizer, closure)
    scaler.update()
    assert torch.equal(flat(list(model.parameters())), before)
    assert optimizer.skipped_steps == 1
    assert optimizer.steps == 1


def test_a_step_without_a_scaler_after_a_failed_one_is_an_ordinary_one() -> None:
    model = SmoothCNN()
    optimizer = make("sam", model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    scaler.scale(F.cross_entropy(model(cnn_batch()[0]), cnn_batch()[1])).backward()
    with pytest.raises(GrngError, match="closure"):
        scaler.step(optimizer)
    optimizer.zero_grad()
    other = SmoothCNN()
    step(model, optimizer, cnn_batch())
    step(other, make("sam", other), cnn_batch())
    assert torch.equal(flat(list(model.parameters())), flat(list(other.parameters())))


@pytest.mark.parametrize("variant", ["reng", "gr-sgd"])
def test_a_hessian_product_of_a_small_gradient_does_not_underflow_in_float16(variant: str) -> None:
    """‖g‖ is about 1e-4 and v = ρ g smaller still: unscaled, H v would vanish in float16."""
    found = []
    for dtype in (torch.float32, torch.float16):
        model = SmoothCNN()
        optimizer = make(variant, model, rho=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18)
        seen: dict[nn.Parameter, Tensor] = {}
        original = optimizer._hessian_product

        def spy(*args: Any, original: Any = original, seen: Any = seen) -> Any:
            seen.update(original(*args))
            return dict(seen)

        optimizer._hessian_product = spy
        inputs, targets = cnn_batch()
        with torch.autocast("cpu", dtype=torch.float16, enabled=dtype == torch.float16):
            outputs = model(inputs)
        optimizer.observe(outputs, targets)
        loss = 1e-4 * F.cross_entropy(outputs.float(), targets)
        scaler.scale(loss).backward(create_graph=True)
        scaler.step(optimizer)
        assert optimizer.skipped_steps == 0
        found.append(flat([seen[p] for p in model.parameters()]))
    assert float((found[1] - found[0]).norm() / found[0].norm()) < 0.01


def test_a_hessian_product_that_overflows_is_formed_with_a_shorter_vector() -> None:
    """30000 w³ at w = 1/2 has the gradient 22500, and the Hessian 90000: beyond float16's 65504."""
    optimizer = SimpleNamespace(grad_scale=torch.tensor(1.0))
    w = nn.Parameter(torch.tensor([0.5]))
    half = w.half()
    (gradient,) = torch.autograd.grad((half * half * half).float() * 30000.0, w, create_graph=True)
    assert bool(gradient.isfinite())
    (product,) = scaled_double_backprop(optimizer, [gradient], [w], [torch.tensor([0.99])])
    torch.testing.assert_close(product, torch.tensor([90000.0 * 0.99]), rtol=2e-3, atol=0)


class Cusp(nn.Module):
    """At 0 the power 3/2 has a gradient, but no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.shift = nn.Linear(5, 4), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x) + self.shift.pow(1.5)
        return out


@pytest.mark.parametrize("variant", ["reng", "gr-sgd", "sophia-h"])
def test_an_overflow_of_every_hessian_product_skips_the_step(variant: str) -> None:
    model = Cusp()
    optimizer = make(variant, model)
    before = flat(list(model.parameters()))
    inputs, targets = class_batch()
    step(model, optimizer, (inputs.float(), targets), scaler=torch.amp.GradScaler("cpu", init_scale=2.0**12))
    assert torch.equal(flat(list(model.parameters())), before)
    assert (optimizer.skipped_steps, optimizer.steps) == (1, 1)


class LayerScale(nn.Module):
    """A residual block behind a scale of 1e-6, as in ConvNeXt: its output gradients are below float16's range."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + 1e-6 * self.conv(x).tanh()
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


def test_sampled_labels_of_a_float16_model_do_not_underflow() -> None:
    found = []
    for dtype in (torch.float32, torch.float16):
        model = LayerScale()
        optimizer = make("kfac", model)
        step(model, optimizer, cnn_batch(), autocast=None if dtype == torch.float32 else dtype)
        found.append(optimizer.state[model.conv.weight]["G"])
    assert float((found[1] - found[0]).norm() / found[0].norm()) < 0.1  # without the scale it is 1


def test_cotangents_whose_scale_overflows_are_taken_as_they_are() -> None:
    weight = nn.Parameter(torch.full((1, 1), 100.0, dtype=torch.float16))
    inputs = torch.ones(1, 1, dtype=torch.float16, requires_grad=True)
    outputs = inputs @ weight.T
    assert torch.finfo(torch.float16).max < 100.0 * FLOAT16_SCALE
    (found,) = gradients_of_outputs(outputs, [inputs], torch.ones(1, 1))
    assert found is not None
    assert float(found) == 100.0


def test_float16_weights_under_a_scaler_say_what_to_do() -> None:
    model = mlp().half()
    optimizer = make("sam", model)
    scaler = torch.amp.GradScaler("cpu")
    inputs, targets = class_batch()
    scaler.scale(F.cross_entropy(model(inputs.half()).float(), targets)).backward()
    with pytest.raises(GrngError, match="Keep the model's weights in float32"):
        scaler.step(optimizer, lambda: 0.0)


@pytest.mark.parametrize("variant", OURS)
def test_float16_with_a_scaler_trains(variant: str) -> None:
    model = SmoothCNN()
    optimizer = make(variant, model)
    scaler = torch.amp.GradScaler("cpu")
    inputs, targets = cnn_batch(batch=24)
    with torch.no_grad():
        before = float(F.cross_entropy(model(inputs), targets))
    for _ in range(12):
        step(model, optimizer, (inputs, targets), autocast=torch.float16, scaler=scaler)
    with torch.no_grad():
        assert float(F.cross_entropy(model(inputs), targets)) < before - 1e-3


def test_timms_adahessian_refuses_a_scaler_and_is_as_before_without_one() -> None:
    model = SmoothCNN()
    optimizer = make("timm:adahessian", model)
    before = flat(list(model.parameters()))
    with pytest.raises(GrngError, match="Choose sophia-h"):
        step(model, optimizer, cnn_batch(), scaler=torch.amp.GradScaler("cpu"))
    assert torch.equal(flat(list(model.parameters())), before)
    optimizer.zero_grad()
    step(model, optimizer, cnn_batch())
    assert not torch.equal(flat(list(model.parameters())), before)


@pytest.mark.parametrize("name", ["reng", "gr-sgd", "sophia-h"])
def test_a_hessian_product_that_is_never_finite_does_not_stop_training_under_a_scaler(name: str) -> None:
    class Rough(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.shift = nn.Linear(5, 4), nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(x) + self.shift.pow(1.5)
            return out

    model, scaler = Rough(), torch.amp.GradScaler("cpu", init_scale=4.0)
    options: dict[str, Any] = {"hessian_interval": 3} if name == "sophia-h" else {"regularize_every": 3}
    optimizer: Any = create_optimizer(name, model, **options)
    inputs, targets = torch.randn(6, 5), torch.randint(0, 4, (6,))
    for _ in range(6):
        outputs = model(inputs)
        optimizer.observe(outputs, targets)
        scaler.scale(F.cross_entropy(outputs, targets)).backward(create_graph=optimizer.is_second_order)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        with torch.no_grad():
            model.shift.zero_()
    assert (optimizer.steps, optimizer.skipped_steps) == (6, 2)
