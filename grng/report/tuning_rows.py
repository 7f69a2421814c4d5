"""From `experiment.yaml` to the tuning of each row, wherever its runs come from and whatever it is called by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from grng.report.records import Run
from grng.report.tuning import RowTuning
from grng.runs.identity import directory_name

Place = tuple[Path, str]
"""An experiment's directory and the name of a row's directory in it: what a row that is renamed keeps."""


def read_tunings(value: Any, path: Path) -> tuple[dict[Place, RowTuning], list[str]]:
    """Return the tuning of rows by their place, and a warning where some cannot be read.

    Args:
        value: What the experiment says of tuning.
        path: Its `experiment.yaml`.
    """
    if value is None:
        return {}, []
    found: dict[Place, RowTuning] = {}
    try:
        for label, of_row in dict(value).items():
            found[path.parent, directory_name(str(label))] = RowTuning.model_validate(of_row)
    except (ValidationError, TypeError, ValueError):
        return found, [f"what {path} says of tuning cannot be read"]
    return found, []


def tuning_of_rows(
    labels: Iterable[str], runs: Iterable[Run], tunings: Mapping[Place, RowTuning]
) -> tuple[dict[str, RowTuning], dict[str, Path]]:
    """Return the tuning of the rows that were tuned, and the directory of each one's sweep.

    Args:
        labels: The rows.
        runs: Of all rows.
        tunings: By place.
    """
    if not tunings:
        return {}, {}
    of_row: dict[str, RowTuning] = {}
    sweeps: dict[str, Path] = {}
    for run in runs:
        if run.root is None or run.label in of_row:
            continue
        tuning = tunings.get((run.root, run.directory.parent.name))
        if tuning is not None:
            of_row[run.label] = tuning
            sweeps[run.label] = run.root / tuning.directory
    return {label: of_row[label] for label in labels if label in of_row}, {
        label: sweeps[label] for label in labels if label in sweeps
    }
