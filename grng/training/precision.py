"""The precision of forward and loss: autocast, and for float16 the loss scale that keeps gradients from underflowing.

Weights, gradients, and all that an optimizer keeps stay in float32.
"""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import torch
from torch import Tensor

from grng.errors import GrngError

PrecisionName = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast of a run, and its loss scale.

    Args:
        name: `fp32`, `bf16` or `fp16`.
        device: The run's device.

    Raises:
        GrngError: If torch cannot compute in this precision on this device.
    """

    def __init__(self, name: PrecisionName = "fp32", device: torch.device | None = None) -> None:
        self.name = name
        self._device = device or torch.device("cpu")
        self._dtype = _DTYPES.get(name)
        self.scaler: torch.amp.GradScaler | None = None
        self.skipped_steps = 0
        if self._dtype is not None:
            self._try()
        if name == "fp16":
            self.scaler = torch.amp.GradScaler(self._device.type)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context for a forward and its loss."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss times its scale, for the backward."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def metrics(self) -> dict[str, float]:
        """Return the loss scale, and how many steps were skipped for an overflow; empty without a scale."""
        if self.scaler is None:
            return {}
        return {"loss_scale": self.scaler.get_scale(), "skipped_steps": float(self.skipped_steps)}

    def state_dict(self) -> dict[str, Any]:
        """Return the loss scale's state for a checkpoint; empty without one."""
        return {} if self.scaler is None else {"scaler": self.scaler.state_dict(), "skipped_steps": self.skipped_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
            self.skipped_steps = int(state["skipped_steps"])

    def unavailable(self, error: Exception) -> GrngError:
        """Return the error for what torch cannot do in this precision."""
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return GrngError(
            f"torch cannot train in {self.name} on {self._device.type}: {text}.",
            where="training.precision",
            hint="Use fp32." if self.name == "bf16" else "Use bf16 or fp32.",
        )

    def _try(self) -> None:
        weight = torch.zeros(4, 4, device=self._device, requires_grad=True)
        try:
            with self.autocast():
                outputs = torch.nn.functional.linear(torch.zeros(4, 4, device=self._device), weight)
            torch.autograd.backward(outputs.float().sum())
        except RuntimeError as error:
            raise self.unavailable(error) from error
