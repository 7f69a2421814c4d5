"""How much memory training needs: the growth over what was in use before it.

On a CPU the interpreter with torch and timm loaded is most of a small run's memory, so the number that compares
optimizers is the growth of the resident set over a baseline that is taken with data and model in place and no
optimizer yet. Linux can reset a process's peak (`/proc/self/clear_refs`), so the peak between two looks is seen;
elsewhere the resident set is sampled after every step, and what was freed inside the step is missed. On a GPU the
allocator's own peak is exact.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

_MB = 1e6
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class MemoryMeter:
    """Peak memory of a run.

    Args:
        device: The device that the run trains on: a CUDA device is measured by its allocator, all else by the
            process's resident set.
        kernel_peak: Whether to ask the kernel for the peak where it can tell; False samples.
    """

    def __init__(self, device: torch.device, *, kernel_peak: bool = True) -> None:
        self._device = device
        self._process = psutil.Process()
        self._kernel_peak = kernel_peak and device.type != "cuda"
        _return_free_memory()
        self._baseline = self._current()
        self._peak = 0
        self._earlier: dict[str, float] = {"peak_mb": 0.0, "growth_mb": 0.0}
        self.reset_peak()

    def reset_peak(self) -> None:
        """Forget the peak so far, but not the baseline: loading a checkpoint is no part of training."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._kernel_peak:
            self._kernel_peak = _reset_resident_peak()
        self._peak = self._current()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave what a block needs out of the numbers; what it freed is given back before the peak counts again."""
        self._earlier = self.state_dict()
        try:
            yield
        finally:
            _return_free_memory()
            self.reset_peak()

    def sample(self) -> None:
        """Look at the memory in use; called after every step, free where the kernel or the allocator keeps the peak."""
        if self._device.type != "cuda" and not self._kernel_peak:
            self._peak = max(self._peak, self._current())

    @property
    def peak_mb(self) -> float:
        """The peak since the last reset in megabytes (10⁶ bytes): resident set, or the CUDA allocator's."""
        return max(self._earlier["peak_mb"], self._peak_bytes() / _MB)

    @property
    def growth_mb(self) -> float:
        """The peak minus the baseline in megabytes, at least 0."""
        return max(self._earlier["growth_mb"], (self._peak_bytes() - self._baseline) / _MB)

    def state_dict(self) -> dict[str, float]:
        """Return the numbers so far, for a checkpoint."""
        return {"peak_mb": self.peak_mb, "growth_mb": self.growth_mb}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from an earlier process's numbers: the larger of both counts."""
        self._earlier = dict(state)

    def _peak_bytes(self) -> int:
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if self._kernel_peak:
            self._peak = max(self._peak, _resident_peak())
        return max(self._peak, self._current())

    def _current(self) -> int:
        if self._device.type == "cuda":
            return int(torch.cuda.memory_allocated(self._device))
        return int(self._process.memory_info().rss)


def optimizer_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of all tensors in `optimizer.state`, storage that several of them share counted once."""
    storages: dict[tuple[str, int], int] = {}
    for tensor in _tensors(dict(optimizer.state)):
        storage = tensor.untyped_storage()
        storages[(str(tensor.device), storage.data_ptr())] = storage.nbytes()
    return sum(storages.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _return_free_memory() -> None:
    """Have the C library give back what was freed: training would use it again and seem to grow by less."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _reset_resident_peak() -> bool:
    """Set the kernel's peak of the resident set to its present size; False where that cannot be done."""
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
        return _resident_peak() > 0
    except OSError:
        return False


def _resident_peak() -> int:
    """Return the kernel's peak of the resident set in bytes, 0 if it does not tell."""
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
