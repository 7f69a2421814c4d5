"""Diagnostics of a run: when they are measured, on which sample of the training set, and what was found last."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from grng.diagnostics.measure import Batch, Diagnostics, Measurement
from grng.diagnostics.sample import FixedSample
from grng.runs.config import RunConfig
from grng.training.loss import Loss, LossName
from grng.training.seeding import derive, generator, preserved_rng

_SAMPLE, _VECTORS = 0, 1  # coordinates of the streams


@dataclass(frozen=True)
class Diagnosed:
    """What a run has measured: the last values by name, of which step, on how many samples, and the seconds of all."""

    step: int | None = None
    samples: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return it for a checkpoint."""
        return asdict(self)


class RunDiagnostics:
    """The diagnostics of a run.

    Args:
        diagnostics: What measures them.
        every: Steps between measurements.
        planned_steps: The run's length; its last step is measured, too.
    """

    def __init__(self, diagnostics: Diagnostics, *, every: int, planned_steps: int) -> None:
        self._diagnostics = diagnostics
        self._every = every
        self._planned_steps = planned_steps

    def due(self, step: int) -> bool:
        """Whether to measure at a step, counted from 1."""
        return step % self._every == 0 or step == self._planned_steps

    def before(self, model: nn.Module, batch: Callable[[], Batch]) -> RunMeasurement:
        """Measure what is about the coming step; `batch` fetches its batch."""
        return RunMeasurement(self._diagnostics, model, batch)


class RunMeasurement:
    """A measurement with its time, that leaves the generators alone; made by `RunDiagnostics.before`."""

    def __init__(self, diagnostics: Diagnostics, model: nn.Module, batch: Callable[[], Batch]) -> None:
        start = time.perf_counter()
        self._samples = diagnostics.sample.samples
        with preserved_rng():
            self._measurement: Measurement = diagnostics.before(model, batch)
        self._seconds = time.perf_counter() - start

    def after(self, model: nn.Module, next_batch: Callable[[], Batch], earlier: Diagnosed, step: int) -> Diagnosed:
        """Measure the rest.

        Args:
            model: At the weights after the step.
            next_batch: Fetches the batch of the step that comes next.
            earlier: What was measured before.
            step: The step, counted from 1.
        """
        start = time.perf_counter()
        with preserved_rng():
            values = self._measurement.after(model, next_batch)
        seconds = (earlier.seconds or 0.0) + self._seconds + time.perf_counter() - start
        return Diagnosed(step, self._samples, values, seconds)


def build_diagnostics(
    config: RunConfig,
    model: nn.Module,
    pick: Callable[[Tensor], Batch],
    count: int,
    device: torch.device,
    planned_steps: int,
) -> RunDiagnostics | None:
    """Return a run's diagnostics, None where it has none; tries on the model whether they can be measured.

    The sample is the same for every optimizer, as are weights and batches.

    Args:
        config: The resolved config.
        model: At its initial weights, on `device`.
        pick: Returns the training samples of indices [n] as the loss takes them, without random changes.
        count: Number of training samples.
        device: The model's.
        planned_steps: The run's length.

    Raises:
        GrngError: They cannot be measured on this model.
    """
    section = config.diagnostics
    if section.every is None:
        return None
    shuffled = torch.randperm(count, generator=generator(config.seed, "diagnostics", _SAMPLE))
    indices = shuffled[: section.samples].sort().values
    images, targets = pick(indices)
    loss = Loss(cast(LossName, config.training.loss))
    sample = FixedSample(
        images,
        targets,
        batch=section.batch,
        batchnorm=section.batchnorm,
        device=device,
        loss=loss,
        seed=partial(derive, config.seed, "diagnostics", _VECTORS),
    )
    diagnostics = Diagnostics(section.names, sample, loss=loss, iterations=section.iterations)
    with preserved_rng():
        diagnostics.check(model)
    return RunDiagnostics(diagnostics, every=section.every, planned_steps=planned_steps)
