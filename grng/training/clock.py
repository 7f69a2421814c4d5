"""The training clock: what a step costs, split by phase, with evaluation and logging left out.

The clock only runs inside `with clock.step()`. Steps are split into phases; on a GPU the device is synchronised at
the edges of every phase, since a phase's kernels would otherwise be charged to whoever waits for them. That costs the
overlap of host and device, alike for every optimizer.

Evaluation, checkpoints and listeners run between steps, where the clock stands still. What a process pays once, such
as choosing convolution algorithms, is paid in a throw-away pass before the first step (`grng.training.building`): so
every step counts in the means, and rare expensive ones (a refresh of the curvature every k steps) are in them with
their true share.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import torch

Phase = Literal["data", "forward", "observe", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = get_args(Phase)


class StepClock:
    """Measures steps and their phases.

    Args:
        device: The device that the steps run on.
        now: The time in seconds; tests put their own in.
    """

    def __init__(self, device: torch.device, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._now = now
        self._phases = dict.fromkeys(PHASES, 0.0)
        self._steps = array("d")
        self._total = 0.0

    @property
    def elapsed_s(self) -> float:
        """Training time so far in seconds: the sum over finished steps, of earlier processes of this run too."""
        return self._total

    @property
    def step_ms(self) -> float | None:
        """Mean time of a step in milliseconds, over all steps; None before the first."""
        return 1e3 * self._total / len(self._steps) if self._steps else None

    @property
    def step_ms_median(self) -> float | None:
        """Median time of a step in milliseconds; None before the first."""
        return 1e3 * statistics.median(self._steps) if self._steps else None

    def timing(self) -> dict[str, float]:
        """Return `step_ms` and each phase's mean in milliseconds, as `data_ms`, …; empty before the first step."""
        means = {"step_ms": self.step_ms, **{f"{phase}_ms": self.phase_ms(phase) for phase in PHASES}}
        return {name: value for name, value in means.items() if value is not None}

    def phase_ms(self, phase: Phase) -> float | None:
        """Return a phase's mean time per step in milliseconds, over all steps; None before the first."""
        return 1e3 * self._phases[phase] / len(self._steps) if self._steps else None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Time one step. A step that raises does not count."""
        phases = dict(self._phases)
        start = self._time()
        try:
            yield
        except BaseException:
            self._phases = phases
            raise
        duration = self._time() - start
        self._steps.append(duration)
        self._total += duration

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Charge a block inside a step to a phase."""
        start = self._time()
        yield
        self._phases[phase] += self._time() - start

    def state_dict(self) -> dict[str, Any]:
        """Return the totals so far, for a checkpoint."""
        return {
            "phases": dict(self._phases),
            "steps": torch.tensor(self._steps, dtype=torch.float64),
            "total": self._total,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the totals of a checkpoint."""
        self._phases = dict.fromkeys(PHASES, 0.0) | state["phases"]
        self._steps = array("d", state["steps"].tolist())
        self._total = state["total"]

    def _time(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        return self._now()
