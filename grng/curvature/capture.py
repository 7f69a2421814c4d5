"""Hooks on a model's layers: what went in, and where the gradient of what came out can be had.

The hook keeps a layer's input and the *gradient edge* of its output, never the output tensor itself: an in-place
activation behind the layer rebases the tensor, and a gradient with respect to it would silently be the one after the
activation. `torch.autograd.grad(outputs, edges)`, asked for edges only, also skips all weight gradients, which makes
the extra pass cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge


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


Hook = Callable[[nn.Module, tuple[Any, ...], Any], None]


class Capture:
    """Records the uses of layers during forward passes for which `armed()` is true.

    Args:
        model: The root: its forward starts a new record.
        layers: The layers to watch, by name.
        armed: Asked at every forward; False makes the hooks do nothing.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, nn.Module], armed: Callable[[], bool]) -> None:
        self.uses: dict[str, list[Use]] = {}
        self._armed = armed
        # The hooks are functions that know their module, not bound methods: a deep copy of the model takes functions as
        # they are, and they do nothing for the copy.
        self._handles = [model.register_forward_pre_hook(self._beginner(model))]
        self._handles += [module.register_forward_hook(self._recorder(name, module)) for name, module in layers.items()]

    def take(self) -> dict[str, list[Use]]:
        """Return what the last forward recorded, and forget it."""
        uses, self.uses = self.uses, {}
        return uses

    def close(self) -> None:
        """Remove the hooks and forget what they recorded."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.uses.clear()

    def _listens(self) -> bool:
        """Whether this forward is to be recorded; one within a backward (gradient checkpointing) is no new one."""
        return self._armed() and torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1

    def _beginner(self, watched: nn.Module) -> Callable[[nn.Module, Any], None]:
        def begin(module: nn.Module, args: Any) -> None:
            if module is watched and self._listens():
                self.uses.clear()

        return cast("Callable[[nn.Module, Any], None]", torch.compiler.disable(begin))

    def _recorder(self, name: str, watched: nn.Module) -> Hook:
        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if module is not watched or not self._listens():
                return
            if not args or not isinstance(output, Tensor) or not output.requires_grad:
                return
            inputs, base = args[0].detach(), output._base
            # A Linear on more than two dimensions returns a view of its product. An in-place operation behind it
            # rebases the product, and the view's own node drops out of the graph: take the product's edge.
            whole = base is not None and base.requires_grad and base.numel() == output.numel()
            source = base if whole and base is not None else output
            use = Use(inputs, inputs._version, get_gradient_edge(source), output.shape, source.dim())
            self.uses.setdefault(name, []).append(use)

        return cast("Hook", torch.compiler.disable(record))
