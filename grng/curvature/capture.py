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
    """One call of a layer: its input, the input's version at that time, and the gradient edge of its output."""

    inputs: Tensor
    version: int
    edge: GradientEdge

    def intact(self) -> bool:
        """Whether the input still holds what the layer saw (an in-place operation afterwards changes its version)."""
        return self.inputs._version == self.version


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
        self._handles = [model.register_forward_pre_hook(self._begin)]
        self._handles += [module.register_forward_hook(self._recorder(name)) for name, module in layers.items()]

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

    def _begin(self, module: nn.Module, args: Any) -> None:
        self.uses.clear()

    def _recorder(self, name: str) -> Hook:
        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            # A recomputation inside a backward (gradient checkpointing) is no new use of the layer.
            if not self._armed() or not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
                return
            if not args or not isinstance(output, Tensor) or not output.requires_grad:
                return
            inputs = args[0].detach()
            self.uses.setdefault(name, []).append(Use(inputs, inputs._version, get_gradient_edge(output)))

        return cast("Hook", torch.compiler.disable(record))
