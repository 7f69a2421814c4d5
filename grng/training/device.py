"""The device that a run trains on, and torch's global settings while it does."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import deterministic

from grng.errors import GrngError

_deterministic: Any = deterministic  # a module whose switch is a property that type checkers do not see
_KINDS = ("cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`: the first CUDA device if there is one, else the CPU. `auto`
            never picks mps, which lacks the float64 arithmetic that curvature is inverted in.

    Raises:
        GrngError: If the name is none of these, or the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in _KINDS or (device.type != "cuda" and device.index not in (None, 0)):
        raise GrngError(
            f"unknown device {name!r}.", where="machine.device", hint="Use auto, cpu, cuda, cuda:1, … or mps."
        )
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise _missing("no CUDA device is available.")
        if (device.index or 0) >= count:
            raise _missing(f"there is no device {name!r}, only cuda:0 to cuda:{count - 1}.")
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise _missing("no MPS device is available.")
    return torch.device(device.type)


def _missing(message: str) -> GrngError:
    return GrngError(message, where="machine.device", hint="Use auto, or cpu.")


def device_name(device: torch.device) -> str:
    """Return the hardware's name, e.g. "NVIDIA H100 80GB HBM3", or the processor's."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())


@contextlib.contextmanager
def execution_settings(device: torch.device, *, threads: int | None, compiles: bool = False) -> Iterator[None]:
    """Set torch's global switches for a run, and put them back.

    On a CPU torch is told to use deterministic algorithms: with them the same config, seed and number of threads give
    the same numbers bit for bit (parallel `index_put_` with accumulation, the backward of relative position tables,
    would not). On a GPU the caller's settings stay, since the deterministic kernels cost time and do not exist for
    everything.

    Args:
        device: The device of the run.
        threads: CPU threads within an operation; None leaves the present number.
        compiles: Whether models are compiled: a backward then keeps what the forward saved, since the optimizer may
            take one of its own before it.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        _deterministic.fill_uninitialized_memory,
    )
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)
            # Filling every empty tensor costs time and only matters to code that reads what it never wrote.
            _deterministic.fill_uninitialized_memory = False
        with torch.enable_grad(), _kept_buffers() if compiles else contextlib.nullcontext():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        _deterministic.fill_uninitialized_memory = before[3]


def _kept_buffers() -> contextlib.AbstractContextManager[Any]:
    import torch._functorch.config

    patch: Any = torch._functorch.config.patch  # a module that type checkers see no functions in
    kept: contextlib.AbstractContextManager[Any] = patch(donated_buffer=False)
    return kept
