"""What optimizers that watch a model's layers share: the capture of a forward, and its repetition on fewer samples."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from grng.curvature.capture import Capture, Use
from grng.optim.base import CurvatureOptimizer
from grng.optim.partial_forward import PartialForward, inner_module


class WatchingOptimizer(CurvatureOptimizer):
    """Watches layers by hooks; with a `curvature_batch` below 1 it measures them in a forward of its own."""

    _capture: Capture | None = None
    _partial: PartialForward | None = None
    _measuring = False  # while the optimizer itself repeats the forward

    # --- what subclasses say

    @property
    def curvature_due(self) -> bool:
        """Whether the coming step measures curvature."""
        return True

    # --- hooks

    def _watch_layers(self, modules: Mapping[str, nn.Module]) -> None:
        """Hook the layers, by name. The hooks hold no strong reference to the optimizer, so that they go with it."""
        if self._capture is not None:
            self._capture.close()
        self._capture = Capture(self.model, modules, self._armed)

    def _watch_forward(self, share: float) -> None:
        """Prepare for repeating the forward on a share of the batch."""
        if share < 1.0:
            self._partial = PartialForward(self.model, self._repeats)

    def _armed(self) -> bool:
        return self.curvature_due and (self._measuring or not self.suspended) and self.model.training

    def _repeats(self) -> bool:
        """Whether the coming forward is one of which a part will be repeated."""
        return self.curvature_due and not self.suspended and self.model.training

    def take_uses(self) -> dict[str, list[Use]]:
        """Return what the last forward recorded of the watched layers, and forget it."""
        return {} if self._capture is None else self._capture.take()

    def _repeated(self, outputs: Tensor, share: float) -> Tensor | None:
        """Return the outputs for the first ⌈`share` · batch⌉ samples, by a forward of their own."""
        samples = math.ceil(share * outputs.shape[0])
        if self._partial is None or self._capture is None or samples == outputs.shape[0]:
            return None
        kept, self._measuring, self.suspended = self._capture.take(), True, True
        try:
            part = self._partial.run(inner_module(self.model), outputs, samples)
        finally:
            self._measuring, self.suspended = False, False
        if part is None:
            self._capture.uses = kept
        return part

    def _forget_forward(self) -> None:
        self.take_uses()
        if self._partial is not None:
            self._partial.forget()

    def close(self) -> None:
        """Remove the hooks from the model."""
        if self._capture is not None:
            self._capture.close()
        if self._partial is not None:
            self._partial.close()
