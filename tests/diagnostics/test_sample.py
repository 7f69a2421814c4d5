"""Gradient and curvature of a sample's loss against torch.func and curvlinops, in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn import functional as F

from grng.diagnostics.sample import BatchNormMode, FixedSample, replica, trainable
from grng.diagnostics.spectrum import normal_vector, signs
from grng.diagnostics.vectors import norm
from tests.oracles.nets import SmallAttention, flat, mlp

CPU = torch.device("cpu")


class Normalised(nn.Module):
    """BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.drop, self.last = (
            nn.Linear(5, 4),
            nn.BatchNorm1d(4),
            nn.Dropout(0.5),
            nn.Linear(4, 3),
        )
        self.double()
        with torch.no_grad():
            assert isinstance(self.norm.running_mean, Tensor)
            assert isinstance(self.norm.running_var, Tensor)
            self.norm.running_mean.copy_(torch.randn(4))
            self.norm.running_var.copy_(torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.drop(torch.tanh(self.norm(self.first(x)))))
        return out


class WrittenOut(nn.Module):
    """BatchNorm over the batch (dimension 0) or LayerNorm (−1) from its definition.

    Of torch's own ones forward over reverse is wrong: with torch 2.14 that Hessian is not symmetric.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight, self.bias = nn.Parameter(torch.empty(4)), nn.Parameter(torch.empty(4))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=self.dim, keepdim=True)
        return centred / (centred.square().mean(dim=self.dim, keepdim=True) + 1e-5).sqrt() * self.weight + self.bias


class Convolutional(nn.Module):
    """A convolution, an activation in place and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3, 3)
        self.unused = nn.Parameter(torch.ones(2))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.silu(self.conv(x), inplace=True).mean(dim=(2, 3)))
        return out


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: mlp(sizes=(5, 4, 3)), (5,)),
    "batchnorm": (Normalised, (5,)),
    "attention": (SmallAttention, (5, 4)),
    "convolution": (Convolutional, (2, 4, 4)),
}
CASES: list[tuple[str, BatchNormMode]] = [(name, "batch") for name in MODELS] + [("batchnorm", "running")]


def data(shape: tuple[int, ...], count: int = 13) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (count,), generator=generator)


def sample_of(images: Tensor, labels: Tensor, *, batch: int, batchnorm: BatchNormMode = "batch") -> FixedSample:
    return FixedSample(
        images,
        labels,
        batch=batch,
        batchnorm=batchnorm,
        device=CPU,
        loss=F.cross_entropy,
        seed=lambda kind, index: 1000 * kind + index,
    )


class Case:
    """A model with its sample, and the dense Hessian by torch.func of the loss written out as one function."""

    def __init__(self, name: str, batchnorm: BatchNormMode, batch: int) -> None:
        make, shape = MODELS[name]
        images, labels = data(shape)
        self.sample = sample_of(images, labels, batch=batch, batchnorm=batchnorm)
        self.model = make()
        self.sample.prepare(self.model)
        self.images, self.labels = images, labels
        names = [key for key, p in self.model.named_parameters() if p.requires_grad]
        shapes = [self.model.get_parameter(key).shape for key in names]
        twin = make().eval()
        twin.load_state_dict(self.model.state_dict())
        if isinstance(twin, SmallAttention) or (isinstance(twin, Normalised) and batchnorm == "batch"):
            twin.add_module("norm", WrittenOut(-1 if isinstance(twin, SmallAttention) else 0))
        cuts = torch.tensor_split(torch.arange(len(labels)), math.ceil(len(labels) / batch))

        def loss(weights: Tensor) -> Tensor:
            parts = weights.split([shape.numel() for shape in shapes])
            values = {key: part.reshape(shape) for key, part, shape in zip(names, parts, shapes, strict=True)}
            total = torch.zeros((), dtype=torch.float64)
            for cut in cuts:
                outputs = functional_call(twin, values, (images[cut],))
                total = total + F.cross_entropy(outputs, labels[cut], reduction="sum")
            return total / len(labels)

        self.weights = flat(trainable(self.model))
        self.gradient = torch.func.grad(loss)(self.weights)
        self.hessian = hessian(loss)(self.weights)


@pytest.fixture(scope="module", params=[(*case, batch) for case in CASES for batch in (13, 5)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return Case(*request.param)


def test_gradient_and_products_are_those_of_the_dense_hessian(case: Case) -> None:
    torch.testing.assert_close(flat(case.sample.gradient(case.model)), case.gradient, rtol=1e-9, atol=1e-12)
    vector = normal_vector(trainable(case.model), 3)
    product = flat(case.sample.product(case.model, vector))
    torch.testing.assert_close(product, case.hessian @ flat(vector), rtol=1e-8, atol=1e-11)


def test_the_largest_eigenvalue_is_that_of_the_dense_hessian(case: Case) -> None:
    found = case.sample.largest_eigenvalue(case.model, iterations=60)
    exact = torch.linalg.eigvalsh(case.hessian)
    assert found.value == pytest.approx(float(exact[-1]), rel=1e-6)
    few = case.sample.largest_eigenvalue(case.model, iterations=4)
    assert few.value <= float(exact[-1]) * (1 + 1e-9)
    assert float((exact - few.value).abs().min()) <= few.error + 1e-9


def test_the_trace_is_the_mean_over_the_random_vectors_and_near_the_dense_one(case: Case) -> None:
    found = case.sample.trace(case.model, vectors=50)
    vectors = [flat(signs(trainable(case.model), 1000 + index)) for index in range(50)]
    forms = torch.stack([z @ case.hessian @ z for z in vectors])
    assert found.value == pytest.approx(float(forms.mean()), rel=1e-8)
    assert found.error == pytest.approx(float(forms.std()) / math.sqrt(50), rel=1e-8)
    assert abs(found.value - float(case.hessian.trace())) < 4 * found.error


@pytest.mark.parametrize("name", ["mlp", "batchnorm"])  # with LayerNorm its forward over reverse is wrong, see above
def test_products_are_those_of_curvlinops(name: str) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    make, shape = MODELS[name]
    images, labels = data(shape)
    model = make()
    sample = sample_of(images, labels, batch=5, batchnorm="running")
    sample.prepare(model)
    cuts = list(zip(torch.tensor_split(images, 3), torch.tensor_split(labels, 3), strict=True))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        operator = curvlinops.HessianLinearOperator(model, nn.CrossEntropyLoss(), trainable(model), cuts)
        vector = normal_vector(trainable(model), 3)
        expected = operator @ flat(vector)
        matrix = operator @ torch.eye(len(flat(vector)), dtype=torch.float64)
    torch.testing.assert_close(flat(sample.product(model, vector)), expected, rtol=1e-8, atol=1e-11)
    found = sample.largest_eigenvalue(model, iterations=60)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-6)


def test_the_cut_matters_only_to_batch_statistics() -> None:
    def gradient(batchnorm: BatchNormMode, batch: int) -> Tensor:
        model, (images, labels) = Normalised(), data((5,))
        sample = sample_of(images, labels, batch=batch, batchnorm=batchnorm)
        sample.prepare(model)
        return flat(sample.gradient(model))

    torch.testing.assert_close(gradient("running", 2), gradient("running", 13), rtol=1e-10, atol=1e-13)
    assert not torch.allclose(gradient("batch", 4), gradient("batch", 13), rtol=1e-3)
    assert not torch.allclose(gradient("batch", 13), gradient("running", 13), rtol=1e-3)


@pytest.mark.parametrize(("count", "batch", "sizes"), [(13, 5, [5, 4, 4]), (3, 2, [3]), (5, 2, [3, 2]), (2, 256, [2])])
def test_no_chunk_is_a_single_sample(count: int, batch: int, sizes: list[int]) -> None:
    images, labels = data((5,), count)
    sample = sample_of(images, labels, batch=batch)
    assert [len(part) for _, part in sample._chunks] == sizes
    model = Normalised()
    sample.prepare(model)
    assert flat(sample.gradient(model)).isfinite().all()


def test_a_frozen_parameter_is_left_out() -> None:
    model = mlp(sizes=(5, 4, 3))
    model.get_parameter("0.weight").requires_grad_(False)
    images, labels = data((5,))
    sample = sample_of(images, labels, batch=5)
    assert [part.shape for part in sample.gradient(model)] == [(4,), (3, 4), (3,)]
    assert len(sample.product(model, normal_vector(trainable(model), 0))) == 3


def test_a_replica_shares_nothing_with_its_model() -> None:
    model: Any = Normalised()
    model.first.weight.grad = torch.ones_like(model.first.weight)
    before = copy.deepcopy(model.state_dict())
    copied: Any = replica(model)
    sample = sample_of(*data((5,)), batch=5)
    sample.prepare(copied)
    sample.trace(copied, vectors=2)
    with torch.no_grad():
        copied.first.weight.zero_()
    assert model.training
    assert model.drop.training
    assert torch.equal(model.first.weight.grad, torch.ones_like(model.first.weight))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not copied.drop.training
    assert copied.norm.training


def test_products_of_a_vision_transformer_with_fused_attention_are_differences_of_gradients() -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_vit", in_chans=1, num_classes=3, img_size=32).double()
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(4, 1, 32, 32, generator=generator, dtype=torch.float64), torch.arange(4) % 3
    sample = sample_of(images, labels, batch=2)
    sample.prepare(model)
    vector = normal_vector(trainable(model), 1)
    product = sample.product(model, vector)
    shifted = []
    for sign in (1.0, -1.0):
        moved = replica(model)
        with torch.no_grad():
            for p, v in zip(trainable(moved), vector, strict=True):
                p.add_(v, alpha=sign * 1e-6)
        shifted.append(flat(sample.gradient(moved)))
    error = flat(product) - (shifted[0] - shifted[1]) / 2e-6
    assert float(error.norm()) < 1e-6 * norm(product)
