"""Columns that are shown on request: any field of a row, first of all what a run's diagnostics measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from grng.diagnostics.names import DIAGNOSTICS, DiagnosticName
from grng.errors import UnknownNameError, suggest
from grng.report.records import Run
from grng.report.row import FIELDS

WHERE = "--columns"


def parse_columns(text: str) -> list[str]:
    """Return the names in a comma list."""
    return [part.strip() for part in text.split(",")]


def check_columns(names: Sequence[str]) -> None:
    """Raise `UnknownNameError` with the nearest names unless each of `names` is a field of a row."""
    for name in names:
        if name not in FIELDS:
            hint = suggest(name, FIELDS, otherwise=f"Fields are {', '.join(FIELDS)}.")
            raise UnknownNameError(f"a row has no field {name!r}", where=WHERE, hint=hint)


def heading(name: str) -> str:
    """Return a field's heading, with its unit."""
    title = next((info.title for info in DIAGNOSTICS.values() if info.name == name), name.replace("_", " "))
    unit = FIELDS[name].unit
    return f"{title}, {unit}" if unit else title


def missing_values(runs: Mapping[str, Sequence[Run]], columns: Sequence[str]) -> Iterator[str]:
    """Yield a warning for each row whose finished runs were done without a diagnostic that is asked for.

    A run that is there already is reused whatever it measured: what is measured does not change what is trained.
    """
    for name in dict.fromkeys(map(diagnostic_of, columns)):
        if name is None:
            continue
        for label, of_label in runs.items():
            finished = [run.result for run in of_label if run.status == "finished" and run.result is not None]
            without = sum(attrgetter(name)(result.diagnostics) is None for result in finished)
            if without:
                count = f"{without} of {len(finished)} runs" if len(finished) > 1 else "its run"
                yield (
                    f"{label}: {count} without {name}, done without `--diagnostics {name}` (`--rerun` measures it) or "
                    f"with a value that is no number"
                )


def diagnostic_of(name: str) -> DiagnosticName | None:
    """Return the diagnostic that a field is of, `grad_norm` for `grad_norm_low`, None where it is of none."""
    return next((found for found in DIAGNOSTICS if name in (found, f"{found}_low", f"{found}_high")), None)
