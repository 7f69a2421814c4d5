"""Row gradients: for groups of samples the sum of their gradients, all groups in one backward where a rule is known.

For cotangents u_b (the gradient of sample b's loss with respect to the model's outputs) the row of group j is
Σ_{b∈j} J_bᵀ u_b. Three ways, the first that applies:

1. Linear and Conv2d: one batched product of layer inputs and output gradients, Σ_{b∈j} Σ_t e_bt a_btᵀ, at the cost of
   a weight gradient whatever the number of rows (of large pictures without cutting patches: `conv_rows`);
2. what meets the batch elementwise (norms' scale and shift, position tables, class tokens, layer scales): `broadcast`;
3. anything else (tied weights, subclasses that transform their weight, embeddings): a backward for every group, exact
   and dear.

Where samples are coupled (BatchNorm) 1 and 2 cut the joined gradient by sample, as Kronecker factors do; the rows
still add up to the batch's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.broadcast import MeetingPoint, meeting_points
from grng.curvature.capture import Use
from grng.curvature.conv_rows import convolution_rows, suits
from grng.curvature.layers import Layer, sum_of
from grng.curvature.precision import wide_dtype
from grng.curvature.reach import other_forward
from grng.curvature.sample_groups import SampleGroups
from grng.curvature.scratch import Scratch

Pull = Callable[[list[Any], Tensor], Sequence[Tensor | None]]
RowGradients = dict[nn.Parameter, Tensor]


def row_gradients(
    outputs: Tensor,
    cotangent: Tensor,
    parameters: Sequence[nn.Parameter],
    *,
    layers: Sequence[Layer],
    uses: Mapping[str, Sequence[Use]],
    groups: SampleGroups,
    pull: Pull,
    scratch: Scratch | None = None,
    part: int = 0,
) -> RowGradients:
    """Return Σ_{b∈j} J_bᵀ u_b for every group j.

    Args:
        outputs: The model's outputs with their graph, `[batch, outputs]`.
        cotangent: u, `[batch, outputs]`.
        parameters: The parameters whose rows are wanted.
        layers: Layers with a product rule; their parameters are taken where they are wanted.
        uses: What the hooks captured in this forward, by layer name.
        groups: The groups of samples.
        pull: `(inputs, cotangent)` to the gradients of the outputs, keeping the graph.
        scratch: Memory in which rows may be returned: those of an earlier call with the same `part` are gone.
        part: Which of the step's micro-batches this is.

    Returns:
        `[rows, *shape]` by parameter, in float32 or better; a parameter that the outputs do not depend on is missing.

    Raises:
        GrngError: The outputs depend on no use that was captured.
    """
    wanted = set(parameters)
    # an input that an in-place operation has changed since is not what the layer saw
    ready = [
        layer
        for layer in layers
        if layer.weight in wanted and layer.name in uses and all(use.intact() for use in uses[layer.name])
    ]
    by_product = {p for layer in ready for p in layer.parameters}
    points = meeting_points(outputs.grad_fn, [p for p in parameters if p not in by_product])

    edges = [use.edge for layer in ready for use in uses[layer.name]]
    edges += [point.edge for found in points.values() for point in found]
    pulled = pull(list(edges), cotangent) if edges else ()
    used = sum(len(uses[layer.name]) for layer in ready)
    if used and all(gradient is None for gradient in pulled[:used]):
        raise other_forward()
    gradients = iter(pulled)
    rows: RowGradients = {}
    dear = [p for p in parameters if p not in by_product and p not in points]
    for layer in ready:
        pairs = [(use, next(gradients)) for use in uses[layer.name]]
        there = [(use.inputs, use.restore(e)) for use, e in pairs if e is not None]
        found_rows = _product_rows(layer, there, groups, scratch if len(there) == 1 else None, part)
        if found_rows is None:
            dear += [p for p in layer.parameters if p in wanted]
        else:
            rows |= {p: found for p, found in found_rows.items() if p in wanted}
    for p, own in points.items():
        parts = [_point_rows(p, point, next(gradients), groups) for point in own]
        if any(part is None for part in parts):
            dear.append(p)
        elif parts:
            rows[p] = sum_of([part for part in parts if part is not None])
    return rows | _backward_rows(cotangent, dear, groups, pull)


def _product_rows(
    layer: Layer, pairs: Sequence[tuple[Tensor, Tensor]], groups: SampleGroups, scratch: Scratch | None, part: int
) -> RowGradients | None:
    """Rows of weight and bias; None where a use of the layer has no batch to be cut."""
    dtype, count = wide_dtype(layer.weight), len(groups.sizes)
    rows: RowGradients = {}
    for inputs, gradient in pairs:
        inputs, gradient = inputs.to(dtype), gradient.to(dtype)
        e = layer.gradient_rows(gradient, batch=groups.batch, samples=groups.batch)
        if isinstance(layer.module, nn.Conv2d) and suits(layer.module, gradient, groups):
            found = {layer.weight: convolution_rows(layer.module, inputs, gradient, groups)}
        else:
            a = layer.input_rows(inputs, batch=groups.batch, samples=groups.batch)
            if a.shape[1] != groups.batch or e.shape[1] != groups.batch:
                return None
            products = groups.products(e, a, scratch=scratch, key=(layer.weight, part))
            found = {layer.weight: products.reshape(count, *layer.weight.shape)}
        if layer.bias is not None:
            found[layer.bias] = groups.sums(e.sum(dim=2).transpose(0, 1)).reshape(count, -1)
        rows = {p: rows[p] + found[p] if p in rows else found[p] for p in found}
    return rows


def _point_rows(
    parameter: nn.Parameter, point: MeetingPoint, gradient: Tensor | None, groups: SampleGroups
) -> Tensor | None:
    if gradient is None:
        return torch.zeros(len(groups.sizes), *parameter.shape, dtype=wide_dtype(parameter), device=parameter.device)
    return point.rows(parameter, gradient.to(wide_dtype(parameter)), groups)


def _backward_rows(
    cotangent: Tensor, parameters: Sequence[nn.Parameter], groups: SampleGroups, pull: Pull
) -> RowGradients:
    """One backward a group, its samples' cotangents alone not zero."""
    if not parameters:
        return {}
    found = [pull(list(parameters), groups.mask(group, cotangent)) for group in range(len(groups.sizes))]
    return {
        p: torch.stack([row.to(wide_dtype(p)) for row in column if row is not None])
        for p, column in zip(parameters, zip(*found, strict=True), strict=True)
        if column[0] is not None
    }
