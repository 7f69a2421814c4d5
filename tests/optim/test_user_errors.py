"""What a user can do wrong in a loop of their own, and that the answer says what to do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng import KFAC, RENG, RING, SAM, RKalman
from grng.errors import GrngError
from grng.optimizers import create_optimizer
from tests.optim.test_contract import VARIANTS, WHOLE_BATCH, make
from tests.oracles.nets import SmallCNN, binary_batch, class_batch, mlp, take_step

OBSERVING = [
    variant for variant, (name, _) in VARIANTS.items() if name in ("kfac", "ring", "reng", "r-kalman", "sophia-g")
]
# the other modes need no record of the layers, so that outputs of any forward do
RECORDING = [variant for variant in OBSERVING if variant.startswith(("kfac", "ring", "reng", "r-kalman, samples"))]
RECORDING += ["r-kalman", "r-kalman, layer", "r-kalman, layer, a share"]
# some need no graph, and a share of the batch has one of its own
WITH_A_GRAPH_OF_THE_LOOP_S = [
    variant
    for variant in OBSERVING
    if variant.removeprefix("r-kalman") not in ("", ", loss", ", block", ", outputs", ", layer, a share")
]
NAN = float("nan")


@pytest.mark.parametrize("variant", OBSERVING)
def test_a_missing_observe(variant: str) -> None:
    model = mlp()
    optimizer = make(variant, model)
    inputs, targets = class_batch()
    F.cross_entropy(model(inputs), targets).backward(create_graph=optimizer.is_second_order)
    with pytest.raises(
        GrngError, match=r"observe was not called.*Call optimizer.observe\(outputs, targets\) after the"
    ):
        optimizer.step()


@pytest.mark.parametrize("variant", WITH_A_GRAPH_OF_THE_LOOP_S)
def test_observe_after_backward(variant: str) -> None:
    model = mlp()
    # with a share of the batch the graph is one of the optimizer's own: see test_partial_forward.py
    optimizer = make(variant, model, **(WHOLE_BATCH if variant.startswith(("kfac", "ring", "reng")) else {}))
    inputs, targets = class_batch()
    outputs = model(inputs)
    F.cross_entropy(outputs, targets).backward()
    with pytest.raises(GrngError, match=r"called after backward.*between the forward and loss.backward\(\)"):
        optimizer.observe(outputs, targets)


@pytest.mark.parametrize("variant", OBSERVING)
def test_a_model_in_eval_mode(variant: str) -> None:
    model = mlp().eval()
    optimizer = make(variant, model)
    inputs, targets = class_batch()
    with pytest.raises(GrngError, match=r"eval mode.*Call model.train\(\) before the forward"):
        optimizer.observe(model(inputs), targets)


@pytest.mark.parametrize("wrong", ["another model's", "detached", "under no_grad"])
@pytest.mark.parametrize("variant", OBSERVING)
def test_outputs_that_are_not_the_models(variant: str, wrong: str) -> None:
    model = mlp()
    optimizer = make(variant, model)
    inputs, targets = class_batch()
    if wrong == "another model's":
        outputs = mlp(seed=1)(inputs)
        message = "none of the optimizer's parameters.*Pass the outputs of the model that the optimizer was made for"
    else:
        with torch.set_grad_enabled(wrong == "detached"):
            outputs = model(inputs).detach()
        message = "not detached and not under no_grad"
    with pytest.raises(GrngError, match=message):
        optimizer.observe(outputs, targets)


@pytest.mark.parametrize("variant", RECORDING)
def test_outputs_of_an_old_forward(variant: str) -> None:
    model = mlp()
    optimizer = make(variant, model)
    inputs, targets = class_batch()
    outputs = model(inputs)
    model(inputs)
    with pytest.raises(GrngError, match=r"not those of the model's last forward.*once after each forward"):
        optimizer.observe(outputs, targets)


@pytest.mark.parametrize("wrap", [lambda z: SimpleNamespace(logits=z), lambda z: (z,), lambda z: {"logits": z}])
def test_outputs_wrapped_in_something(wrap: Callable[[Tensor], Any]) -> None:
    model = mlp()
    inputs, targets = class_batch()
    with pytest.raises(GrngError, match=r"where it needs the outputs as a tensor\. Pass the logits themselves"):
        RING(model).observe(wrap(model(inputs)), targets)


@pytest.mark.parametrize(
    ("likelihood", "targets", "message"),
    [
        (
            "categorical",
            torch.zeros(5, dtype=torch.int64),
            r"outputs of shape \[6, 4\] and a int64 tensor of shape \[5\]",
        ),
        ("categorical", torch.zeros(6, 3), r"a float32 tensor of shape \[6, 3\].*class indices"),
        ("categorical", torch.zeros(6), r"a float32 tensor of shape \[6\].*class indices \(whole numbers\)"),
        ("categorical", torch.full((6,), NAN), r"a float32 tensor of shape \[6\]"),
        ("categorical", torch.ones(6, dtype=torch.bool), r"a bool tensor of shape \[6\]"),
        ("categorical", torch.tensor([0, 1, 2, 3, 4, 0]), "targets between 0 and 4. Pass classes from 0 to 3"),
        ("categorical", torch.tensor([0, 1, -100, 3, 2, 0]), "targets between -100 and 3. Pass classes from 0 to 3"),
        ("categorical", torch.full((6, 4), NAN), "targets between nan and nan. Pass probabilities"),
        ("categorical", torch.full((6, 4), -0.1), "Pass probabilities, at least 0"),
        ("bernoulli", torch.zeros(6, dtype=torch.int64), r"a int64 tensor of shape \[6\].*of the outputs' shape"),
        ("bernoulli", torch.zeros(6, 4, dtype=torch.int64), "Pass targets as floats between 0 and 1"),
        ("bernoulli", torch.full((6, 4), 2.0), "targets between 2 and 2. Pass targets between 0 and 1"),
        ("bernoulli", torch.full((6, 4), NAN), "targets between nan and nan"),
        ("gaussian", torch.zeros(6), r"a float32 tensor of shape \[6\]. Pass targets of the outputs' shape"),
        ("gaussian", torch.zeros(6, 1), r"a float32 tensor of shape \[6, 1\]"),
        ("gaussian", torch.full((6, 4), NAN), "Pass finite targets"),
        ("gaussian", torch.full((6, 4), float("inf")), "Pass finite targets"),
    ],
)
def test_targets_that_do_not_fit_the_likelihood(likelihood: str, targets: Tensor, message: str) -> None:
    model = mlp()
    kalmans = [RKalman(model, likelihood=likelihood, observation=seen) for seen in ("samples", "loss")]  # type: ignore[arg-type]
    for optimizer in (KFAC(model, likelihood=likelihood), *kalmans):  # type: ignore[arg-type]
        with pytest.raises(GrngError, match=f"likelihood '{likelihood}' got .*{message}"):
            optimizer.observe(model(class_batch()[0]), targets)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "gaussian"])
@pytest.mark.parametrize("shape", [(6,), (6, 4, 2)])
def test_outputs_that_fit_no_likelihood(likelihood: Any, shape: tuple[int, ...]) -> None:
    model = mlp()
    outputs = model(class_batch()[0]).new_zeros(shape).requires_grad_() * 1.0
    with pytest.raises(GrngError, match=r"needs outputs as floats of shape \[batch, outputs\].*tensor of shape \[6"):
        KFAC(model, likelihood=likelihood).observe(outputs, torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_class_targets_may_be_any_whole_numbers(dtype: torch.dtype) -> None:
    model = mlp()
    inputs, targets = class_batch()
    optimizer = RING(model, fisher="empirical")
    outputs = model(inputs)
    optimizer.observe(outputs, targets.to(dtype))
    F.cross_entropy(outputs, targets).backward()
    optimizer.step()


@pytest.mark.parametrize("variant", ["reng, finite difference", "gr-sgd, finite difference", "sam"])
def test_a_missing_closure(variant: str) -> None:
    model = mlp()
    optimizer = make(variant, model)
    inputs, targets = class_batch()
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    F.cross_entropy(outputs, targets).backward()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(GrngError, match=r"closure.*Call optimizer.step\(closure\) where optimizer.needs_closure holds"):
        optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("variant", ["reng", "gr-sgd", "gr-adamw", "sophia-h"])
def test_a_backward_without_create_graph(variant: str) -> None:
    model = mlp()
    optimizer = make(variant, model)
    inputs, targets = class_batch()
    outputs = model(inputs)
    optimizer.observe(outputs, targets)
    F.cross_entropy(outputs, targets).backward()
    with pytest.raises(GrngError, match=r"Call loss.backward\(create_graph=optimizer.is_second_order\)"):
        optimizer.step()


@pytest.mark.parametrize("name", ["kfac", "ring", "reng"])
def test_half_a_layer_added_to_the_other_half(name: str) -> None:
    model = mlp()
    optimizer = create_optimizer(name, model, params=[model[2].weight, *model[0].parameters()])
    with pytest.raises(GrngError, match=r"weight and bias must be added together.*whole layers to the constructor"):
        optimizer.add_param_group({"params": [model[2].bias]})


def test_a_group_of_another_models_parameters_added_later() -> None:
    model = SmallCNN()
    optimizer = RENG(model, params=model.head.parameters())
    with pytest.raises(GrngError, match=r"no parameter of the model.*Pass parameters of this very model"):
        optimizer.add_param_group({"params": list(SmallCNN().conv1.parameters())})


def test_parameters_in_place_of_the_model() -> None:
    for kind in (RING, KFAC, RKalman, SAM):
        with pytest.raises(GrngError, match=r"first argument must be the model, got generator.*RING\(model\)"):
            kind(mlp().parameters())  # type: ignore[arg-type]


def test_after_an_error_the_loop_can_go_on() -> None:
    model = mlp()
    optimizer = RING(model)
    inputs, targets = class_batch()
    with pytest.raises(GrngError):
        optimizer.observe(model(inputs), targets + 4)
    assert take_step(model, optimizer, inputs, targets) > 0
    binary: nn.Module = mlp(seed=2)
    with pytest.raises(GrngError):
        RING(binary, likelihood="bernoulli").observe(binary(inputs), targets)
    assert take_step(binary, RING(binary), inputs, binary_batch()[1]) > 0
