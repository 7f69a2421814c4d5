"""What `experiment.yaml` is to say of a comparison, before its runs and while its rows are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from grng.experiments.record import Calibration, Record, read_record
from grng.experiments.tuning.record import tunings_of

if TYPE_CHECKING:
    from grng.experiments.compare import Prepared


def record_of(
    prepared: Prepared,
    calibrations: Mapping[str, Calibration],
    *,
    all_there: bool,
    rerun: bool,
    tuning_calibrations: Mapping[str, Calibration] | None = None,
) -> Record:
    """Return what the directory's runs, not this call alone, were done with.

    Args:
        prepared: The comparison.
        calibrations: Of its rows, where the budget is in seconds.
        all_there: Whether no run is left to do.
        rerun: Whether runs that are there are done again.
        tuning_calibrations: Of the trials, where these are still to be done.

    Raises:
        GrngError: A sweep that a row takes its values from cannot be read.
    """
    before = read_record(prepared.directory)
    workers = max(1, len(prepared.slots))
    if before and not rerun:
        workers = before.workers if all_there else max(workers, before.workers)
    return Record(
        optimizers=list(prepared.labels),
        seeds=list(prepared.config.seeds),
        reference=prepared.config.chosen_reference,
        workers=workers,
        calibrations={**(before.calibrations if before else {}), **calibrations},
        claims=prepared.config.claims,
        margin=prepared.config.margin,
        interval=prepared.config.interval,
        tune=prepared.tune.settings,
        tuning=tunings_of(prepared.config, prepared.directory),
        tuning_calibrations={**(before.tuning_calibrations if before else {}), **(tuning_calibrations or {})},
    )
