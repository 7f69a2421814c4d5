"""Naive twins by torch.func: dense Fisher matrices, gradients and Hessian-vector products, sample by sample."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def dense_fisher_categorical(model: nn.Module, inputs: Tensor, parameter: str) -> Tensor:
    """Mean over samples of Σ_c μ_c ∇log p(c) ∇log p(c)ᵀ for one parameter, rows in its own (row-major) order."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def log_probabilities(value: Tensor, x: Tensor) -> Tensor:
        return F.log_softmax(functional_call(model, {**values, parameter: value}, (x[None],))[0], dim=0)

    size = values[parameter].numel()
    total = torch.zeros(size, size, dtype=inputs.dtype)
    for x in inputs:
        jacobian = jacrev(log_probabilities)(values[parameter], x).reshape(-1, size)
        probabilities = log_probabilities(values[parameter], x).exp()
        total += jacobian.mT @ (probabilities[:, None] * jacobian)
    return total / len(inputs)


def dense_fisher_bernoulli(model: nn.Module, inputs: Tensor, parameter: str) -> Tensor:
    """Mean over samples of Σ_y p(y) ∇log p(y) ∇log p(y)ᵀ for one parameter, every one of the 2^C labels in turn."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def log_probability(value: Tensor, x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(model, {**values, parameter: value}, (x[None],))[0]
        return -F.binary_cross_entropy_with_logits(outputs, y, reduction="sum")

    size = values[parameter].numel()
    total = torch.zeros(size, size, dtype=inputs.dtype)
    outputs = model(inputs[:1]).shape[1]
    for x in inputs:
        for label in itertools.product((0.0, 1.0), repeat=outputs):
            y = torch.tensor(label, dtype=inputs.dtype)
            score = grad(log_probability)(values[parameter], x, y).reshape(-1)
            total += log_probability(values[parameter], x, y).exp() * torch.outer(score, score)
    return total / len(inputs)


def dense_fisher_gaussian(model: nn.Module, inputs: Tensor, parameter: str) -> Tensor:
    """Mean over samples of JᵀJ for one parameter."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def outputs(value: Tensor, x: Tensor) -> Tensor:
        result: Tensor = functional_call(model, {**values, parameter: value}, (x[None],))[0]
        return result

    size = values[parameter].numel()
    jacobians = [jacrev(outputs)(values[parameter], x).reshape(-1, size) for x in inputs]
    return torch.stack([jacobian.mT @ jacobian for jacobian in jacobians]).mean(dim=0)


def gradient_and_hvp(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return g = ∇L and H g of the mean cross-entropy, by forward-over-reverse differentiation."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (inputs,)), targets)

    gradient = grad(loss)(values)
    product: dict[str, Tensor] = jvp(grad(loss), (values,), (gradient,))[1]
    return gradient, product


def per_sample_gradients(model: nn.Module, inputs: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Return J_bᵀ u_b of every sample by itself, `[batch, *shape]` by parameter name."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def projected(parameters: dict[str, Tensor], x: Tensor, u: Tensor) -> Tensor:
        outputs: Tensor = functional_call(model, parameters, (x[None],))[0]
        return (outputs * u).sum()

    each = [grad(projected)(values, x, u) for x, u in zip(inputs, cotangent, strict=True)]
    return {name: torch.stack([one[name] for one in each]) for name in values}


def flat_per_sample(model: nn.Module, inputs: Tensor, cotangent: Tensor) -> Tensor:
    """Return J_bᵀ u_b of every sample, `[batch, parameters]`."""
    found = per_sample_gradients(model, inputs, cotangent)
    return torch.cat([rows.reshape(len(inputs), -1) for rows in found.values()], dim=1)


def output_jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return ∂z/∂θ, `[batch · outputs, parameters]`."""
    values = {name: p.detach() for name, p in model.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no batching rule
        found = jacrev(lambda parameters: functional_call(model, parameters, (inputs,)))(values)
    return torch.cat([rows.reshape(rows.shape[0] * rows.shape[1], -1) for rows in found.values()], dim=1)
