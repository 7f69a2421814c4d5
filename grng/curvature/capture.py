"""Hooks on a model's layers: what went in, and where the gradient of what came out can be had.

The hook keeps a layer's input and the *gradient edge* of its output, never the output tensor itself: an in-place
activation behind the layer rebases the tensor, and a gradient with respect to it would silently be the one after the
activation. `torch.autograd.grad(outputs, edges)`, asked for edges only, also skips all weight gradients, which makes
the extra pass cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from grng.curvature.hooks import HookOwner


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a layer: its input, the input's version at that time, and the gradient edge of its output.

    The edge may be that of a tensor of which the output is a view of another shape: see `restore`.
    """

    inputs: Tensor
    version: int
    edge: GradientEdge
    shape: torch.Size
    edge_dims: int

    def intact(self) -> bool:
        """Whether the input still holds what the layer saw (an in-place operation afterwards changes its version)."""
        return self.inputs._version == self.version

    def restore(self, gradient: Tensor) -> Tensor:
        """Give a gradient had at the edge the output's shape; dimensions in front (batched gradients) stay."""
        leading = gradient.shape[: gradient.dim() - self.edge_dims]
        return gradient.reshape(*leading, *self.shape)


class Capture(HookOwner):
    """Records the uses of layers during forward passes for which `armed()` is true.

    Args:
        model: The root: its forward starts a new record.
        layers: The layers to watch, by name.
        armed: Asked at every forward; False makes the hooks do nothing.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, nn.Module], armed: Callable[[], bool]) -> None:
        super().__init__(armed)
        self.uses: dict[str, list[Use]] = {}
        self.attach(model, "_begin", before=True)
        for name, module in layers.items():
            self.attach(module, "_record", name)

    def take(self) -> dict[str, list[Use]]:
        """Return what the last forward recorded, and forget it."""
        uses, self.uses = self.uses, {}
        return uses

    def close(self) -> None:
        """Remove the hooks and forget what they recorded."""
        super().close()
        self.uses.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "uses": {}}  # a copy has no part in this one's graph

    def _listens(self) -> bool:
        """Whether this forward is to be recorded; one within a backward (gradient checkpointing) is no new one."""
        return self.is_due() and torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1

    def _begin(self, module: nn.Module, args: Any, output: None) -> None:
        if self._listens():
            self.uses.clear()

    def _record(self, module: nn.Module, args: tuple[Any, ...], output: Any, name: str) -> None:
        if not self._listens() or not args or not isinstance(output, Tensor) or not output.requires_grad:
            return
        inputs, base = args[0].detach(), output._base
        # A Linear on more than two dimensions returns a view of its product. An in-place operation behind it rebases
        # the product, and the view's own node drops out of the graph: take the product's edge.
        whole = base is not None and base.requires_grad and base.numel() == output.numel()
        source = base if whole and base is not None else output
        use = Use(inputs, inputs._version, get_gradient_edge(source), output.shape, source.dim())
        self.uses.setdefault(name, []).append(use)
