"""`ring@runs/sweep-x` in a comparison: the best of an earlier sweep, and whether all rows were tuned alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.errors import GrngError
from grng.experiments.sweeps.endings import ENDINGS
from grng.runs.schema import absolute

SIGN = "@"
FILE = "sweep.json"


@dataclass(frozen=True)
class Tuning:
    """What a sweep found.

    Args:
        optimizer: Its name.
        model: The model that it was tuned on.
        dataset: The data set that it was tuned on.
        trials: How many trials have ended.
        values: The best ones, by name.
    """

    optimizer: str
    model: str
    dataset: str
    trials: int
    values: Mapping[str, Any]


def split_name(name: str) -> tuple[str, Path | None]:
    """Return the optimizer and the sweep's directory in `ring@runs/sweep-x`; None: there is none."""
    optimizer, sign, folder = name.partition(SIGN)
    return (optimizer, Path(folder)) if sign else (name, None)


def short_label(label: str) -> str:
    """Return `ring@sweep-x[rho=1]` for `ring@runs/sweep-x[rho=1]`: a label has no path."""
    before, bracket, rest = label.partition("[")
    name, folder = split_name(before)
    return label if folder is None else f"{name}{SIGN}{absolute(folder).name}{bracket}{rest}"


def read_tuning(folder: Path, optimizer: str) -> Tuning:
    """Return what the sweep in `folder` found.

    Raises:
        GrngError: There is none, it is of another optimizer, or its best cannot be a row of a comparison.
    """
    path = folder.expanduser() / FILE
    hint = f"Do it first: grng sweep --optimizer {optimizer} --output {folder}."
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        best, counts = found["best"], found["counts"]
        ended = sum(int(counts.get(status, 0)) for status in ENDINGS)
        values = None if best is None else dict(best["values"])
        tuning = Tuning(str(found["optimizer"]), str(found["model"]), str(found["dataset"]), ended, values or {})
    except OSError:
        raise GrngError(f"there is no sweep in {folder}", hint=hint) from None
    except (ValueError, KeyError, TypeError):
        raise GrngError(f"{path} is no summary of a sweep", hint=hint) from None
    if tuning.optimizer != optimizer:
        raise GrngError(f"the sweep in {folder} is of {tuning.optimizer}, not of {optimizer}", hint=hint)
    if values is None:
        raise GrngError(f"no trial of the sweep in {folder} finished, so it has no best", hint=hint)
    keys = [name for name in values if "." in name]
    if keys:
        raise GrngError(
            f"the sweep in {folder} searched {', '.join(keys)}, which all rows of a comparison share",
            hint="Give the row's hyperparameters instead, or sweep without it.",
        )
    return tuning


def tuning_notes(rows: Mapping[str, Path | None], optimizers: Sequence[str], *, model: str, dataset: str) -> list[str]:
    """Return lines on how the rows of a comparison were tuned, and what of it is not fair.

    Args:
        rows: The sweep's directory of each row, by label; None: a row that was not tuned by a sweep.
        optimizers: The optimizer of each row.
        model: The comparison's.
        dataset: The comparison's.
    """
    tunings = {
        label: read_tuning(folder, optimizer)
        for (label, folder), optimizer in zip(rows.items(), optimizers, strict=True)
        if folder is not None
    }
    if not tunings:
        return []
    counts = {tuning.trials for tuning in tunings.values()}
    if len(counts) == 1:
        notes = [f"tuned, {counts.pop()} trials each: {', '.join(tunings)}"]
    else:
        each = ", ".join(f"{label} {tuning.trials}" for label, tuning in tunings.items())
        notes = [f"the rows were tuned with different numbers of trials: {each}"]
    others = [label for label in rows if label not in tunings]
    if others:
        notes.append(f"not tuned here: {', '.join(others)}")
    for label, tuning in tunings.items():
        if (tuning.model, tuning.dataset) != (model, dataset):
            notes.append(f"{label} was tuned on another workload: {tuning.model} on {tuning.dataset}")
    return notes
