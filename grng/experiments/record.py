"""`experiment.yaml`: what a directory's runs were planned as; the report reads rows, seeds and reference from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grng._version import __version__
from grng.errors import RunDirectoryError
from grng.experiments.claims.config import ClaimConfig
from grng.report.tuning import RowTuning
from grng.runs.files import atomic_write_text, explain_os_errors
from grng.statistics import IntervalKind

FILE = "experiment.yaml"


class Calibration(BaseModel):
    """A budget in seconds turned into steps for one row."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    """The budget."""
    step_ms: float
    """The measured time of a step, in milliseconds."""
    steps: int
    """What fits."""


class Record(BaseModel):
    """The content of `experiment.yaml`."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    optimizers: list[str]
    """Labels of the rows, in order."""
    seeds: list[int]
    reference: str
    workers: int
    """How many runs went at once."""
    calibrations: dict[str, Calibration] = Field(default_factory=dict)
    """By label; empty unless the budget is in seconds."""
    claims: list[ClaimConfig] = Field(default_factory=list)
    """What the table is to be held against."""
    margin: float | None = None
    """Largest difference in test accuracy that does not matter."""
    interval: IntervalKind = "t"
    tune: dict[str, Any] | None = None
    """How the rows were tuned here; null: they were not."""
    tuning: dict[str, RowTuning] = Field(default_factory=dict)
    """What tuning found, by label; also of rows whose sweep was named."""
    tuning_calibrations: dict[str, Calibration] = Field(default_factory=dict)
    """By label; of the trials, where the budget is in seconds."""
    grng: str = __version__

    def save(self, directory: Path) -> None:
        """Write it into `directory`, which is made.

        Raises:
            RunDirectoryError: The directory cannot be written to.
        """
        with explain_os_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        values = self.model_dump(mode="json")
        # Left out where they say nothing, as in the files of versions that did not know them.
        for name in ("claims", "margin", "interval", "tune", "tuning", "tuning_calibrations"):
            if values[name] == Record.model_fields[name].get_default(call_default_factory=True):
                del values[name]
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        path = directory / FILE
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        atomic_write_text(path, text)


def read_record(directory: Path) -> Record | None:
    """Return the record in `directory`, or None when there is none.

    Raises:
        RunDirectoryError: There is one that cannot be read.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        with explain_os_errors(path):
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Record.model_validate(value)
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError):
        raise RunDirectoryError(
            "is not an experiment.yaml that this grng can read", where=str(path), hint="Choose another --output."
        ) from None
