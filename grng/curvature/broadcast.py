"""Per-sample gradients of parameters that meet the batch in one elementwise operation, read off the graph.

Position tables, class tokens, layer scales and the scale and shift of normalisations have no matrix product to take
rows from, but the operation in which they meet the batch is elementwise in them: with e the gradient with respect to
its result `[batch, ...]`, the gradient of one sample is e_b times a factor that the graph has saved (the normalised
input, the other operand, or 1), summed over the positions that share the parameter. The graph says which operation it
is, so subclasses of norm layers, repeated uses and free parameters need no rules of their own. As for layers, a first
dimension as long as the batch is taken for the batch, unless it is the parameter's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from grng.curvature.precision import wide
from grng.curvature.sample_groups import SampleGroups


@dataclass(frozen=True, slots=True)
class MeetingPoint:
    """An operation in which a parameter meets the batch: its node of the graph, and which input the parameter is."""

    node: Any
    index: int

    @property
    def edge(self) -> GradientEdge:
        """Where the gradient with respect to the operation's result is had."""
        return GradientEdge(self.node, 0)

    def rows(self, parameter: nn.Parameter, gradient: Tensor, groups: SampleGroups) -> Tensor | None:
        """Return the parameter's gradient for every group, `[rows, *shape]`.

        Args:
            parameter: The parameter.
            gradient: The gradient with respect to the operation's result, `[batch, ...]`.
            groups: The groups of samples.

        Returns:
            None where the operation's first dimension is not the batch, or its formula is not known.
        """
        if gradient.shape[0] != groups.batch:
            return None
        product = _RULES[self.node.name()](self.node, self.index, gradient)
        if product is None:
            return None
        if self.node.name() in _CHANNELS_FIRST:
            view: tuple[int, ...] = (parameter.shape[0], *(1,) * (product.dim() - 2))
        elif parameter.dim() < product.dim():
            view = tuple(parameter.shape)
        elif parameter.shape[0] == 1:
            view = tuple(parameter.shape[1:])
        else:
            return None  # the parameter has a dimension of its own where the batch should be
        view = (1,) * (product.dim() - 1 - len(view)) + view
        # positions first: what is left for the samples is small
        return groups.sums(product.sum_to_size(groups.batch, *view)).reshape(-1, *parameter.shape)


def meeting_points(root: Any, parameters: Sequence[nn.Parameter]) -> dict[nn.Parameter, list[MeetingPoint]]:
    """Find where each parameter meets the batch.

    Args:
        root: The node of the model's outputs (`outputs.grad_fn`).
        parameters: The parameters asked for.

    Returns:
        For every parameter that is used in known operations only: all of them. A parameter that is not in the graph
        at all has an empty list.
    """
    if not parameters:
        return {}
    users: dict[Any, list[tuple[Any, int]]] = {}
    leaves: dict[nn.Parameter, Any] = {}
    asked, seen, waiting = set(parameters), {root}, [root]
    while waiting:
        node = waiting.pop()
        for index, (source, _) in enumerate(node.next_functions):
            if source is None:
                continue
            users.setdefault(source, []).append((node, index))
            if source not in seen:
                seen.add(source)
                waiting.append(source)
                variable = getattr(source, "variable", None)
                if variable is not None and variable in asked:
                    leaves[variable] = source
    found: dict[nn.Parameter, list[MeetingPoint]] = {}
    for parameter in parameters:
        points = _points(leaves[parameter], users) if parameter in leaves else []
        if points is not None:
            found[parameter] = points
    return found


def _points(source: Any, users: dict[Any, list[tuple[Any, int]]]) -> list[MeetingPoint] | None:
    points: list[MeetingPoint] = []
    for node, index in users.get(source, []):
        if node.name() == "ToCopyBackward0":  # autocast: a cast changes no gradient but by rounding
            further = _points(node, users)
            if further is None:
                return None
            points += further
        elif node.name() in _RULES:
            points.append(MeetingPoint(node, index))
        else:
            return None
    return points


Rule = Callable[[Any, int, Tensor], Tensor | None]


def _add(node: Any, index: int, gradient: Tensor) -> Tensor:
    return gradient if index == 0 else gradient * node._saved_alpha


def _subtract(node: Any, index: int, gradient: Tensor) -> Tensor:
    return gradient if index == 0 else gradient * -node._saved_alpha


def _multiply(node: Any, index: int, gradient: Tensor) -> Tensor:
    other: Tensor = node._saved_other if index == 0 else node._saved_self
    return gradient * other.detach()


def _expand(node: Any, index: int, gradient: Tensor) -> Tensor:
    return gradient


def _layer_norm(node: Any, index: int, gradient: Tensor) -> Tensor | None:
    return _affine(index, gradient, lambda: (node._saved_input, node._saved_result1, node._saved_result2))


def _batch_norm(node: Any, index: int, gradient: Tensor) -> Tensor | None:
    if not node._saved_training:  # by running statistics, which are saved otherwise
        return None
    view = (1, -1, *(1,) * (gradient.dim() - 2))
    return _affine(
        index,
        gradient,
        lambda: (node._saved_input, node._saved_result1.reshape(view), node._saved_result2.reshape(view)),
    )


def _group_norm(node: Any, index: int, gradient: Tensor) -> Tensor | None:
    def statistics() -> tuple[Tensor, Tensor, Tensor]:
        inputs, groups = node._saved_input, node._saved_group
        view = (inputs.shape[0], inputs.shape[1], *(1,) * (inputs.dim() - 2))
        each = inputs.shape[1] // groups
        mean = node._saved_result1.repeat_interleave(each, dim=1).reshape(view)
        return inputs, mean, node._saved_result2.repeat_interleave(each, dim=1).reshape(view)

    return _affine(index, gradient, statistics)


def _affine(index: int, gradient: Tensor, statistics: Callable[[], tuple[Tensor, Tensor, Tensor]]) -> Tensor | None:
    """Return e for a shift (input 2), e ⊙ (x − mean)·rstd for a scale (input 1)."""
    if index == 2:
        return gradient
    if index != 1:
        return None  # the parameter is what is normalised
    inputs, mean, scale = statistics()
    normalised = wide(inputs.detach()) - wide(mean)
    return normalised.mul_(wide(scale)).mul_(gradient)  # in place: these are as large as the activations


_RULES: dict[str, Rule] = {
    "AddBackward0": _add,
    "SubBackward0": _subtract,
    "MulBackward0": _multiply,
    "ExpandBackward0": _expand,
    "NativeLayerNormBackward0": _layer_norm,
    "NativeBatchNormBackward0": _batch_norm,
    "CudnnBatchNormBackward0": _batch_norm,
    "NativeGroupNormBackward0": _group_norm,
}
_CHANNELS_FIRST = ("NativeBatchNormBackward0", "CudnnBatchNormBackward0", "NativeGroupNormBackward0")
