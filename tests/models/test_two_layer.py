from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grng.data import load
from grng.errors import GrngError, UnknownNameError
from grng.models import check_model_name, create_model, list_models, prepare_model, pretrained_name
from grng.models.param_groups import parameter_groups
from grng.models.two_layer import TwoLayer
from grng.statistics import geometric_rate
from grng.training.loss import Loss

DATA: dict[str, Any] = {"channels": 1, "num_classes": 3, "img_size": 4}


def make(**kwargs: Any) -> TwoLayer:
    torch.manual_seed(0)
    model = create_model("two_layer", **{**DATA, **kwargs})
    assert isinstance(model, TwoLayer)
    return model


def test_the_outputs_are_those_of_the_equation() -> None:
    model = make(width=5, channels=2)
    images = torch.randn(3, 2, 4, 4)
    weights, signs = model.hidden.weight.detach(), model.output.weight.detach()
    expected = [
        [
            sum(float(signs[c, r]) * max(0.0, float(weights[r] @ image.flatten())) for r in range(5)) / 5**0.5
            for c in range(3)
        ]
        for image in images
    ]
    torch.testing.assert_close(model(images), torch.tensor(expected))


def test_what_it_begins_with_and_what_is_trained() -> None:
    model = make(width=4096)
    weights = model.hidden.weight.detach()
    assert abs(float(weights.mean())) < 4 / weights.numel() ** 0.5
    assert float(weights.std()) == pytest.approx(1, abs=0.01)
    assert sorted(set(model.output.weight.flatten().tolist())) == [-1.0, 1.0]
    assert abs(float(model.output.weight.mean())) < 4 / (3 * 4096) ** 0.5
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["hidden.weight"]
    trained = make(train_output=True)
    assert [name for name, p in trained.named_parameters() if p.requires_grad] == ["hidden.weight", "output.weight"]
    assert trained.width == 512
    assert not [name for name, _ in model.named_parameters() if "bias" in name]


def test_gradient_descent_ends_at_the_rate_of_the_kernel_s_smallest_eigenvalue() -> None:
    """Du et al. 2019: residuals r ← (1 − η K/n) r with K = J Jᵀ, so that the loss falls by (1 − η λ/n)² a step."""
    bundle = load("sphere", img_size=4)
    images, labels = bundle.train.images[:12].double(), bundle.train.labels[:12]
    torch.manual_seed(0)
    model = TwoLayer(in_chans=1, num_classes=2, img_size=4, width=1024).double()
    loss, weight, rate = Loss("mse"), model.hidden.weight, 6.0
    targets, losses = loss.targets(labels, 2), []
    for _ in range(240):
        value = loss(model(images), targets)
        losses.append(float(value.detach()))
        (gradient,) = torch.autograd.grad(value, weight)
        with torch.no_grad():
            weight -= rate * gradient
    outputs = model(images).flatten()
    rows = [torch.autograd.grad(output, weight, retain_graph=True)[0].flatten() for output in outputs]
    jacobian = torch.stack(rows)
    smallest = float(torch.linalg.eigvalsh(jacobian @ jacobian.T)[0]) / 12
    found = geometric_rate(losses, rounding=0.0, late=True)
    assert found is not None
    assert losses[-1] < 1e-4 * losses[0]
    assert found.factor == pytest.approx((1 - rate * smallest) ** 2, rel=0.02)


def test_one_seed_gives_one_model() -> None:
    assert all(torch.equal(a, b) for a, b in zip(make().parameters(), make().parameters(), strict=True))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"width": 0}, "width of two_layer must be a whole number from 1 to 1,000,000, not 0."),
        ({"width": "wide"}, "width of two_layer must be a whole number from 1 to 1,000,000, not 'wide'."),
        ({"width": True}, "width of two_layer must be a whole number from 1 to 1,000,000, not True."),
        ({"train_output": 1}, "train_output of two_layer must be true or false, not 1."),
        ({"widht": 3}, "the model two_layer takes no argument 'widht'. Did you mean 'width'?"),
        ({"bias": True}, "the model two_layer takes no argument 'bias'. It takes width and train_output."),
    ],
)
def test_what_it_does_not_take(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(GrngError) as caught:
        make(**kwargs)
    assert str(caught.value) == f"model.kwargs: {message}"


def test_it_stands_beside_timm_s_models_and_not_among_them() -> None:
    import timm

    assert "two_layer" not in timm.list_models()
    assert list_models("two_*") == ["two_layer"]
    assert list_models()[-1] == "two_layer"
    check_model_name("two_layer")
    with pytest.raises(UnknownNameError, match="Did you mean 'two_layer'"):
        check_model_name("two_layr")
    with pytest.raises(UnknownNameError):
        list_models("two_*", pretrained=True)


@pytest.mark.parametrize("name", ["two_layer", "two_layer.du"])
def test_it_has_no_pretrained_weights(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        pretrained_name(name)
    assert str(caught.value) == "the model 'two_layer' has no pretrained weights. Leave --pretrained and tags out."


def test_weights_of_a_file_and_a_linear_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.models.nearest_models._MOST_MODELS", 2)
    saved = make(width=8)
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(1)
    prepared = prepare_model("two_layer", **DATA, weights=tmp_path / "weights.pt", kwargs={"width": 8})
    torch.testing.assert_close(prepared.model.state_dict(), saved.state_dict())
    with pytest.raises(GrngError, match=r"two_layer"):
        prepare_model("two_layer", **DATA, weights=tmp_path / "weights.pt", kwargs={"width": 9})
    probe = prepare_model("two_layer", **DATA, linear_probe=True).model
    assert [name for name, p in probe.named_parameters() if p.requires_grad] == ["output.weight"]


def test_layers_have_learning_rates_of_their_own() -> None:
    groups = parameter_groups(make(train_output=True), {"lr": 1.0}, layer_decay=0.5, no_decay=True)
    assert groups is not None
    assert sorted(group["lr"] for group in groups) == [0.5, 1.0]
