"""One suite over the whole registry and three of timm: what every optimizer promises; a new row joins by itself."""

from __future__ import annotations

import copy
import gc
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from grng.errors import GrngError, HyperparameterError
from grng.optim.registry import REGISTRY
from grng.optimizers import create_optimizer, hyperparameters, resolve_hyperparameters
from tests.oracles.nets import SmallAttention, SmallCNN, class_batch, flat, mlp, take_step

OURS = list(REGISTRY)
NAMES = [*OURS, "timm:adamp", "timm:lion", "timm:adahessian"]
# not the defaults: no forward of the optimizer's own
WHOLE_BATCH: dict[str, Any] = {"curvature_batch": 1.0, "curvature_interval": 2}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in NAMES} | {
    "kfac, exact": ("kfac", {"damping_form": "exact"}),
    "kfac, newton": ("kfac", {**WHOLE_BATCH, "inverse": "newton"}),
    "ring, literal": (
        "ring",
        {
            "norm_scope": "global",
            "norm_ema": 0.0,
            "damping_form": "exact",
            "step_norm": "none",
            "momentum_form": "step",
            "other_parameters": "diagonal",
            "kl_clip": 0.01,
            "damping": 1e-3,
            **WHOLE_BATCH,
        },
    ),
    "kfac, corrected": ("kfac", {"damping_form": "exact", "eigenvalue_correction": True, "inverse_interval": 3}),
    "ring, corrected": ("ring", {"damping_form": "exact", "eigenvalue_correction": True}),
    "reng, corrected": (
        "reng",
        {**WHOLE_BATCH, "damping_form": "exact", "eigenvalue_correction": True, "weight_sharing": "reduce"},
    ),
    "reng, finite difference": ("reng", {"hvp": "finite_difference"}),
    "reng, every third step": ("reng", {"regularize_every": 3, "rho_warmup_steps": 4}),
    "gr-sgd, finite difference": ("gr-sgd", {"hvp": "finite_difference"}),
    "gr-adamw, every third step": ("gr-adamw", {"regularize_every": 3, "rho_warmup_steps": 4}),
    "r-kalman, loss": ("r-kalman", {"observation": "loss"}),
    "r-kalman, information": (
        "r-kalman",
        {"observation": "loss", "update": "information", "momentum": 0.9, "initial_covariance": 1e-3},
    ),
    "r-kalman, block": ("r-kalman", {"observation": "loss", "covariance": "block"}),
    "r-kalman, samples": ("r-kalman", {"filter_scope": "global", "rows": 4, "momentum": 0.5}),
    "r-kalman, samples, block": (
        "r-kalman",
        {"filter_scope": "global", "covariance": "block", "update": "information"},
    ),
    "r-kalman, outputs": ("r-kalman", {"observation": "outputs"}),
    "r-kalman, layer": ("r-kalman", {"filter_scope": "layer", "rows": 4, "memory": 3, "curvature_batch": 1.0}),
    "r-kalman, layer, a share": ("r-kalman", {"rows": 4, "memory": 3, "curvature_batch": 0.7}),
}
BOTH_KALMANS = [*OURS, "r-kalman, loss"]  # whose filters have next to nothing in common
CNN: dict[str, Any] = {"features": (2, 9, 8), "classes": 3}


def make(variant: str, model: nn.Module, **kwargs: Any) -> Any:
    name, given = VARIANTS[variant]
    return create_optimizer(name, model, **{**given, **kwargs})


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_loss_goes_down(variant: str) -> None:
    model = SmallCNN()
    optimizer = make(variant, model)
    inputs, targets = class_batch(batch=24, **CNN)
    losses = [take_step(model, optimizer, inputs, targets) for _ in range(30)]
    assert losses[-1] < losses[0] - 1e-3


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_saved_and_loaded_equals_straight_bit_for_bit(variant: str, tmp_path: Path) -> None:
    def run(model: nn.Module, optimizer: Any, steps: range) -> None:
        for step in steps:
            take_step(model, optimizer, *class_batch(seed=step, **CNN))

    straight = SmallCNN()
    optimizer = make(variant, straight, seed=5)
    run(straight, optimizer, range(24))  # by default all inverses follow factors of after the resume by then

    first = SmallCNN()
    optimizer = make(variant, first, seed=5)
    run(first, optimizer, range(10))
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")

    second = SmallCNN(seed=9)
    optimizer = make(variant, second, seed=6)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    second.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    run(second, optimizer, range(10, 24))
    for (name, mine), (_, theirs) in zip(second.state_dict().items(), straight.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_frozen_and_unused_parameters_are_left_alone(variant: str) -> None:
    class Partial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.used, self.unused = nn.Linear(5, 4).double(), nn.Linear(5, 4).double()
            self.frozen = nn.Linear(4, 4).double().requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.frozen(self.used(x).tanh())
            return out

    model = Partial()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make(variant, model)
    for step in range(4):
        take_step(model, optimizer, *class_batch(seed=step))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (not name.startswith("used")), name


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_two_groups_have_their_own_learning_rates(variant: str) -> None:
    model = SmallCNN()
    groups = [
        {"params": list(model.head.parameters()), "lr": 0.0, "weight_decay": 0.0},
        {"params": list(model.conv1.parameters())},
    ]
    optimizer = make(variant, model, params=groups)
    head, conv = [p.detach().clone() for p in model.head.parameters()], model.conv1.weight.detach().clone()
    for step in range(3):
        take_step(model, optimizer, *class_batch(seed=step, **CNN))
    assert all(torch.equal(p, old) for p, old in zip(model.head.parameters(), head, strict=True))
    assert not torch.equal(model.conv1.weight, conv)
    assert "lr" in repr(optimizer)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_schedulers_scale_every_group(variant: str) -> None:
    model = SmallCNN()
    optimizer = make(variant, model)
    start = [group["lr"] for group in optimizer.param_groups]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    take_step(model, optimizer, *class_batch(**CNN))
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [lr * 0.5 for lr in start]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_diagnostics_are_plain_floats_measured_on_request(variant: str) -> None:
    model = SmallCNN()
    optimizer = make(variant, model)
    inputs, targets = class_batch(**CNN)
    take_step(model, optimizer, inputs, targets)
    assert "gradient_norm" not in optimizer.diagnostics()
    optimizer.collect_diagnostics = True
    for _ in range(2):
        loss = nn.functional.cross_entropy(model(inputs), targets)
        norm = flat(torch.autograd.grad(loss, list(model.parameters()))).norm()
        before = flat(list(model.parameters()))
        take_step(model, optimizer, inputs, targets)
    found = optimizer.diagnostics()
    assert all(type(value) is float and math.isfinite(value) for value in found.values()), found
    torch.testing.assert_close(found["gradient_norm"], float(norm), rtol=1e-6, atol=0)
    step = flat(list(model.parameters())) - before
    torch.testing.assert_close(found["step_weight_ratio"], float(step.norm() / before.norm()), rtol=1e-6, atol=0)
    assert -1.0 - 1e-9 <= found["cosine_last_step"] <= 1.0 + 1e-9


@pytest.mark.parametrize("variant", [name for name in BOTH_KALMANS if name != "sam"])
def test_a_closure_that_makes_the_gradients_within_the_step_changes_nothing(variant: str) -> None:
    results = []
    for within in (False, True):
        model = SmallCNN()
        optimizer: Any = make(variant, model, seed=1)
        optimizer.collect_diagnostics = True
        for step in range(3):
            inputs, targets = class_batch(seed=step, **CNN)

            def closure(
                model: nn.Module = model,
                optimizer: Any = optimizer,
                x: torch.Tensor = inputs,
                y: torch.Tensor = targets,
            ) -> float:
                outputs = model(x)
                optimizer.observe(outputs, y)
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(outputs, y)
                loss.backward(create_graph=optimizer.is_second_order)
                return float(loss.detach())

            if within:
                assert optimizer.step(closure) > 0
            else:
                closure()
                optimizer.step()
        results.append((flat(list(model.parameters())), optimizer.diagnostics()))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_attention_trains(variant: str) -> None:
    model = SmallAttention()
    optimizer = make(variant, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")
        for step in range(3):
            loss = take_step(model, optimizer, *class_batch(features=(5, 4), classes=3, seed=step))
            assert math.isfinite(loss)


def single_precision_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs.float(), targets)


@pytest.mark.parametrize("variant", BOTH_KALMANS)
def test_float32_models_keep_float32_state_and_half_precision_ones_too(variant: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = mlp().to(dtype)
        optimizer: Any = make(variant, model)
        inputs, targets = class_batch()
        for _ in range(2):
            take_step(model, optimizer, inputs.to(dtype), targets, loss=single_precision_loss)
        assert all(torch.isfinite(p).all() and p.dtype == dtype for p in model.parameters())
        for state in optimizer.state.values():
            for key in ("A", "G", "A_inverse", "G_inverse", "covariance", "rows", "gram"):
                assert key not in state or state[key].dtype == torch.float32


@pytest.mark.parametrize("name", OURS)
def test_a_wrong_hyperparameter_is_refused_by_name(name: str) -> None:
    with pytest.raises(HyperparameterError, match="has no hyperparameter 'learning_rat'"):
        create_optimizer(name, mlp(), learning_rat=0.1)
    with pytest.raises(HyperparameterError, match=r"lr: must be a number( or none)?, at least 0; got -1"):
        create_optimizer(name, mlp(), lr=-1)
    with pytest.raises(HyperparameterError, match="got nan"):
        create_optimizer(name, mlp(), lr=math.nan)
    with pytest.raises(HyperparameterError, match="got 'fast'"):
        create_optimizer(name, mlp(), lr="fast")


@pytest.mark.parametrize("variant", [*NAMES, "r-kalman, loss"])
def test_resolved_hyperparameters_make_the_same_optimizer(variant: str) -> None:
    name, own = VARIANTS[variant]
    values = resolve_hyperparameters(name, own)
    assert set(values) == set(hyperparameters(name))
    assert resolve_hyperparameters(name, values) == values
    models = [mlp(), mlp()]
    for model, given in zip(models, (own, values), strict=True):
        optimizer = create_optimizer(name, model, **given)
        for step in range(3):
            take_step(model, optimizer, *class_batch(seed=step))
    assert torch.equal(flat(list(models[0].parameters())), flat(list(models[1].parameters())))


@pytest.mark.parametrize("name", OURS)
def test_every_hyperparameter_says_what_it_means(name: str) -> None:
    for known in hyperparameters(name).values():
        assert known.meaning.text, known.name
        assert known.type_text, known.name
        assert known.check(known.default) == known.default


OBSERVING = [name for name in OURS if "observe" in REGISTRY[name].needs]


@pytest.mark.parametrize("name", OBSERVING)
def test_a_step_that_was_not_observed_says_what_to_call(name: str) -> None:
    model = mlp()
    optimizer: Any = create_optimizer(name, model)
    inputs, targets = class_batch()
    nn.functional.cross_entropy(model(inputs), targets).backward(create_graph=optimizer.is_second_order)
    with pytest.raises(GrngError, match=r"Call optimizer.observe\(outputs, targets\) after the forward"):
        optimizer.step()


@pytest.mark.parametrize("name", OBSERVING)
def test_misuse_of_observe_says_what_to_do(name: str) -> None:
    model = mlp()
    optimizer: Any = create_optimizer(name, model, **(WHOLE_BATCH if name in ("kfac", "ring", "reng") else {}))
    inputs, targets = class_batch()
    outputs = model(inputs)
    with pytest.raises(GrngError, match=r"outputs of shape \[6, 4\] and a int64 tensor of shape \[5\]"):
        optimizer.observe(outputs, targets[:5])
    with pytest.raises(GrngError, match="not detached and not under no_grad"):
        optimizer.observe(outputs.detach(), targets)
    model.eval()
    with pytest.raises(GrngError, match=r"Call model.train\(\) before the forward"):
        optimizer.observe(outputs, targets)
    model.train()
    if name == "r-kalman":  # by default it observes a share, whose graph is its own
        optimizer = create_optimizer(name, model, curvature_batch=1.0)
        outputs = model(inputs)
    nn.functional.cross_entropy(outputs, targets).backward()
    with pytest.raises(GrngError, match=r"between the forward and loss.backward\(\)"):
        optimizer.observe(outputs, targets)


@pytest.mark.parametrize("name", OURS)
def test_parameters_of_another_model_and_a_missing_model_are_refused(name: str) -> None:
    with pytest.raises(GrngError, match="no parameter of the model"):
        create_optimizer(name, mlp(), params=mlp().parameters())
    with pytest.raises(GrngError, match="the first argument must be the model"):
        create_optimizer(name, mlp().parameters())  # type: ignore[arg-type]
    with pytest.raises(GrngError, match="nothing to train"):
        create_optimizer(name, mlp().requires_grad_(False))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_hooks_go_with_close_and_with_the_optimizer(variant: str) -> None:
    def hooks(model: nn.Module) -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

    model = SmallAttention()
    optimizer = make(variant, model)
    take_step(model, optimizer, *class_batch(features=(5, 4), classes=3))
    optimizer.close()
    assert hooks(model) == 0
    optimizer = make(variant, model)
    take_step(model, optimizer, *class_batch(features=(5, 4), classes=3))
    del optimizer
    gc.collect()
    assert hooks(model) == 0


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_evaluation_between_steps_changes_nothing(variant: str) -> None:
    results = []
    for evaluate in (False, True):
        model = SmallCNN()
        optimizer = make(variant, model)
        for step in range(4):
            inputs, targets = class_batch(seed=step, **CNN)
            take_step(model, optimizer, inputs, targets)
            if evaluate:
                model.eval()
                with torch.no_grad():
                    model(inputs)
                model(inputs).sum()  # with a graph, too
                model.train()
        results.append(flat(list(model.parameters())))
    assert torch.equal(*results)


@pytest.mark.parametrize("variant", BOTH_KALMANS)
def test_grad_is_untouched_by_observe(variant: str) -> None:
    model = mlp()
    optimizer: Any = make(variant, model)
    inputs, targets = class_batch()
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("variant", BOTH_KALMANS)
def test_groups_can_be_added_later(variant: str) -> None:
    model = SmallCNN()
    optimizer: Any = make(variant, model, params=model.head.parameters())
    take_step(model, optimizer, *class_batch(**CNN))
    optimizer.add_param_group({"params": list(model.conv1.parameters())})
    before = model.conv1.weight.detach().clone()
    for step in range(3):
        take_step(model, optimizer, *class_batch(seed=step, **CNN))
    assert not torch.equal(model.conv1.weight, before)


def test_registry_rows_are_frozen_and_unique() -> None:
    from grng.optim import registry

    row = next(iter(REGISTRY.values()))
    with pytest.raises(AttributeError):
        row.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="two optimizers are called"):
        registry._table((row, copy.copy(row)))


@pytest.mark.parametrize("name", ["rign", "adam-w", "timm:muonn"])
def test_an_unknown_optimizer_gets_the_nearest_name(name: str) -> None:
    with pytest.raises(GrngError, match="Did you mean"):
        create_optimizer(name, mlp())
