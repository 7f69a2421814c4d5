"""Whether the disk takes what an experiment will write; a disk that fills up ends every run that writes to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grng.data import dataset_info, is_door
from grng.experiments.estimate import disk_bytes
from grng.experiments.plan import plan, rows
from grng.experiments.preflight import undownloading
from grng.experiments.record import read_record
from grng.experiments.sweeps.plan import PreparedSweep
from grng.experiments.sweeps.trials import read_trials
from grng.experiments.tuning.tune import expected, trials_ahead
from grng.runs.config import RunConfig
from grng.runs.index import RunIndex

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared

AMPLE = 64
"""More than any optimizer's checkpoints take, in weights of the model: where there is so much, nothing is measured."""


@dataclass(frozen=True)
class Needed:
    """What an experiment will write, as far as its disk may not take it.

    Args:
        directory: The experiment's.
        total: Bytes that its runs will still write.
        free: Bytes that its disk has left; None: it does not say.
    """

    directory: Path
    total: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Whether the disk takes it."""
        return self.free is None or self.total <= self.free


def free_bytes(directory: Path) -> int | None:
    """Return what is left of the disk on which `directory` is, or will be made; None where that cannot be found out."""
    place = directory.absolute()
    for parent in (place, *place.parents):
        if parent.is_dir():
            with suppress(OSError):
                return shutil.disk_usage(parent).free
            return None
    return None


def written_bytes(directory: Path) -> int:
    """Return the bytes of the files below `directory`; 0 where there is none."""
    total = 0
    for path in directory.rglob("*"):
        with suppress(OSError):  # a run that is at work replaces its files
            total += path.stat().st_size if path.is_file() else 0
    return total


def needed_by_comparisons(comparisons: Iterable[Prepared], directory: Path) -> Needed | None:
    """Return what comparisons below `directory` will write; None where there is room for much more.

    A few steps of each row are measured, in memory, only where there is not.

    Raises:
        GrngError: A row cannot be built.
    """
    comparisons = tuple(one for one in comparisons if not one.complete)
    free = free_bytes(directory)
    if free is None or free >= sum(_most(one) for one in comparisons):
        return None
    return Needed(directory, sum(_comparison(one) for one in comparisons), free)


def needed_by_sweep(prepared: PreparedSweep) -> Needed | None:
    """Return what a sweep will write; see `needed_by_comparisons`."""
    if prepared.complete:
        return None
    free = free_bytes(prepared.directory)
    runs = prepared.total * prepared.config.tuning_seeds
    if free is None or free >= runs * AMPLE * _model_bytes(prepared.probe):
        return None
    each = disk_bytes(prepared.probe) or 0
    ended = sum(trial.ended for trial in read_trials(prepared.directory, prepared.space)[: prepared.total])
    return Needed(prepared.directory, (prepared.total - ended) * prepared.config.tuning_seeds * each, free)


def _most(prepared: Prepared) -> int:
    """Return more than the runs of a comparison can come to, from the size of its model alone."""
    config = expected(prepared)[0].config
    runs = len(prepared.labels) * len(config.seeds)
    runs += sum(one.total * one.config.tuning_seeds for one in prepared.sweeps.values())
    return runs * AMPLE * _model_bytes(next(iter(rows(config).values())))


def _comparison(prepared: Prepared) -> int:
    known, unknown = expected(prepared)
    configs = rows(known.config)
    record = read_record(prepared.directory)
    steps = {
        label: record.calibrations[label].steps if record and label in record.calibrations else 1 for label in configs
    }
    index = prepared.index or RunIndex(prepared.directory)
    planned = plan(known.config, steps=steps)
    missing = [run for run in planned if run.label in unknown or index.done(run.directory, run.run_id) is None]
    trials = {label: one.runs for label, one in trials_ahead(prepared).items() if one.runs}
    each = {label: disk_bytes(configs[label]) or 0 for label in {run.label for run in missing} | trials.keys()}
    total = sum(count * each[label] for label, count in trials.items())
    return total + sum(max(0, each[run.label] - written_bytes(run.directory)) for run in missing)


def _model_bytes(config: RunConfig) -> int:
    """Return the size of a run's weights, which are not downloaded for that."""
    from grng.models import prepare_model
    from grng.training.seeding import preserved_rng

    info = None if is_door(config.dataset.name) else dataset_info(config.dataset.name)
    with preserved_rng():
        prepared = prepare_model(
            **undownloading(config).model.arguments(),
            channels=info.channels if info else 3,
            num_classes=info.num_classes if info else 1000,  # a classifier is a small part of a model
            img_size=config.dataset.img_size or 0,
        )
    return sum(value.nbytes for value in prepared.model.state_dict().values())
