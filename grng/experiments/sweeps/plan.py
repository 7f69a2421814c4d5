"""From a sweep's config to what it will do: checked, counted, nothing written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grng.errors import ConfigError, GrngError
from grng.experiments import preflight
from grng.experiments.machine import are_here, check_place, slots_for
from grng.experiments.pool.slots import Slot
from grng.experiments.sweeps import record as sweep_record
from grng.experiments.sweeps import samplers
from grng.experiments.sweeps.config import DEFAULT_TRIALS, SweepConfig
from grng.experiments.sweeps.ended import all_ended
from grng.experiments.sweeps.maps import check_maps
from grng.experiments.sweeps.objectives import minimizes, needs_target
from grng.experiments.sweeps.space_grammar import Real
from grng.experiments.sweeps.spaces import Space, check_together, run_config, space_of
from grng.runs.config import RunConfig
from grng.runs.schema import Locate

MAX_GRID = 1000
"""Combinations of a grid that are tried without being asked for by number."""


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep whose settings have been found good; nothing is written yet.

    Args:
        config: The sweep.
        space: What is searched.
        probe: A resolved run within the space.
        directory: Where it goes.
        total: Trials in all.
        slots: What its workers get; empty: the runs are done in this process.
        notes: Lines on the model: weights loaded, what is frozen.
        complete: Whether all trials have ended, and none is to be done again.
    """

    config: SweepConfig
    space: Space
    probe: RunConfig
    directory: Path
    total: int
    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()
    complete: bool = False

    @property
    def workers(self) -> int:
        """Runs at once."""
        return max(1, len(self.slots))

    @property
    def described(self) -> dict[str, Any]:
        """What its directory's `sweep.yaml` says."""
        return sweep_record.described(self.config, self.space, self.probe)

    def run(self, values: dict[str, Any], seed: int) -> RunConfig:
        """Return the resolved config of a run with the values of a trial."""
        return run_config(self.config, values, seed=seed)

    def propose(self, number: int, trials: Any) -> dict[str, Any]:
        """Return the values of trial `number`."""
        config = self.config
        minimize = minimizes(config.objective)
        return samplers.propose(
            config.sampler, self.space, seed=config.seed, number=number, trials=trials, minimize=minimize
        )


def prepare(
    config: SweepConfig, *, locate: Locate | None = None, download: bool = True, rerun: bool = False
) -> PreparedSweep:
    """Check everything that can be checked before a trial begins; nothing is written.

    Where all trials have ended, no model is built and no data set opened: nothing will be trained.

    Args:
        config: The sweep.
        locate: Where a key of it was given, for messages (`Loaded.locate`).
        download: Whether data and pretrained weights may be fetched.
        rerun: Whether the trials that are there will be thrown away.

    Raises:
        GrngError: Names, space, model, device or directory do not do.
    """
    planned = plan_sweep(config, locate=locate)
    sweep_record.check_folder(planned.directory, planned.described)
    check_place(planned.slots, config.pool, planned.directory)
    here = are_here(planned.slots, config.pool)
    if not rerun and all_ended(planned.directory, planned.total):
        if here:
            preflight.check_machine(planned.probe)
        return replace(planned, complete=True)
    return replace(planned, notes=(*preflight.check([planned.probe], download=download, here=here), *planned.notes))


def plan_sweep(config: SweepConfig, *, locate: Locate | None = None) -> PreparedSweep:
    """Return what a sweep is, its space and settings checked; neither is a model built nor a directory looked at.

    Args:
        config: The sweep.
        locate: Where a key of it was given, for messages.

    Raises:
        GrngError: Names or space do not do.
    """
    space = space_of(config, locate=locate)
    check_maps(config, space, locate=locate)
    probe = check_together(config, space, locate=locate)
    total = _total(config, space, locate)
    if needs_target(config.objective) and probe.training.target is None:
        where = locate(("objective",)) if locate else "objective"
        message = f"{config.objective} needs a validation accuracy to reach, and {probe.dataset.name} has none."
        raise GrngError(message, where=where, hint="Give training.target (--target).")
    slots = slots_for(config.workers, config.machine, config.pool, locate=locate)
    directory = config.output or sweep_record.default_directory(config, space, probe)
    notes: tuple[str, ...] = ()
    if config.objective == "time-to-target" and any(slot.time_shared for slot in slots):
        notes = ("note: times of runs that share cores or a GPU mean little; use --workers 1",)
    return PreparedSweep(config, space, probe, directory, total, slots, notes)


def _total(config: SweepConfig, space: Space, locate: Locate | None) -> int:
    """Return the number of trials in all.

    Raises:
        ConfigError: A grid of what cannot be counted, or smaller than the trials asked for, or huge.
    """
    if config.sampler != "grid":
        return config.trials or DEFAULT_TRIALS
    where = locate(("sampler",)) if locate else "sampler"
    size = samplers.grid_size(space)
    if size is None:
        names = [f"{name}: {one}" for name, one in space.items() if isinstance(one, Real)]
        hint = "Give the values, --space 'NAME=choice(…)', or choose another sampler."
        raise ConfigError([GrngError(f"a grid needs values, not ranges: {', '.join(names)}.", where=where, hint=hint)])
    if config.trials is None and size > MAX_GRID:
        raise ConfigError(
            [GrngError(f"the grid has {size:,} combinations.", where=where, hint="Say how many to try: --trials N.")]
        )
    if config.trials is not None and config.trials > size:
        where = locate(("trials",)) if locate else "trials"
        hint = f"Give --trials {size}, or leave it out."
        raise ConfigError([GrngError(f"the grid has only {size} combinations.", where=where, hint=hint)])
    return config.trials or size
