"""What TensorBoard shows of a whole experiment: each row's mean and interval over the seeds, a layout, the verdicts.

It lies in `@summary` of the experiment's directory: `@` is in no directory that is named after a label, so that no row
can have the same place; and there is neither a config nor a result in it, so that nothing takes it for a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from grng.report.board_events import Chart, EventBytes
from grng.report.export import to_markdown
from grng.report.load import load_experiment
from grng.report.over_seeds import RowCurves, curves_of_rows
from grng.report.reading import EXPERIMENT, METRICS, RESULT
from grng.report.records import Experiment
from grng.report.tables import summarise
from grng.runs.files import atomic_write_bytes, explain_os_errors, is_temporary
from grng.runs.identity import directory_name
from grng.training.listeners.event_file import EVENT_FILES, next_name

FOLDER = "@summary"
TAGS = {
    "val_accuracy": ("eval/accuracy", "validation accuracy"),
    "val_loss": ("eval/loss", "validation loss, nats"),
    "epoch_loss": ("train/epoch_loss", "training loss, mean of an epoch, nats"),
    "train_loss": ("train/loss", "training loss of a batch, nats"),
}
"""By quantity, the tag that single runs have it under, which is the mean's as well, and a title."""

LOW, HIGH, SEEDS = "_low", "_high", "_seeds"
_RUNS = "*/seed*"


def write_board(directory: Path, *, force: bool = False) -> Path | None:
    """Write what TensorBoard shows of the experiment in `directory`, unless it is there and up to date.

    Single runs are in the folders `<label>/seed<k>`; beside them there are then `@summary/<label>`, with the mean under
    the tag that the runs have, the ends of the 95 % interval under the same with `_low` and `_high` and the number of
    seeds under `_seeds`, and `@summary` with the layout of the Custom Scalars page and the table with its verdicts as
    text. Each file appears in one piece. Experiments that are not finished are written as far as they are.

    Args:
        directory: An experiment's directory.
        force: Write it also where nothing has changed, or where the runs themselves have no event files.

    Returns:
        The folder; None where the runs were done without TensorBoard's files, and where none has begun.

    Raises:
        GrngError: There is no experiment.
        RunDirectoryError: The folder cannot be written.
    """
    folder = directory / FOLDER
    changed = _changed(directory)
    if not changed or not (force or any(directory.glob(f"{_RUNS}/{EVENT_FILES}"))):
        return None
    written = max((path.stat().st_mtime for path in folder.glob(EVENT_FILES)), default=0.0)
    if not force and written > max(changed):
        return folder
    experiment = load_experiment(directory)
    created = [run.result.created.timestamp() for run in experiment.runs if run.result is not None]
    since = min(created, default=min(changed))
    rows = {directory_name(row.label): row for row in curves_of_rows(experiment)}
    for name, row in rows.items():
        _replace(folder / name, _row_events(row, since))
    _remove_others(folder, rows)
    _replace(folder, _overview(experiment, since))  # last: what says that the rest is there
    return folder


def _row_events(row: RowCurves, begun: float) -> bytes:
    events = EventBytes(begun)
    for quantity, (tag, _) in TAGS.items():
        for point in row.over_seeds(quantity):
            values = {tag: point.mean, f"{tag}{SEEDS}": float(point.seeds)}
            if point.low is not None and point.high is not None:
                values |= {f"{tag}{LOW}": point.low, f"{tag}{HIGH}": point.high}
            events.scalars(values, point.step, point.elapsed_s)
    return events.getvalue()


def _overview(experiment: Experiment, begun: float) -> bytes:
    table = summarise(experiment)
    events = EventBytes(begun)
    events.text("verdict", to_markdown(table))
    title = f"{table.model} on {table.dataset}" if table.model else "all runs"
    over_seeds = [
        Chart(f"{name}: mean and 95 % interval over seeds", (tag, f"{tag}{LOW}", f"{tag}{HIGH}"), margin=True)
        for tag, name in TAGS.values()
    ]
    single = [Chart(f"{name}: every run", (f"^{tag}$",)) for tag, name in TAGS.values()]
    events.layout({title: [*over_seeds, *single]})
    return events.getvalue()


def _changed(directory: Path) -> list[float]:
    """Return when the files were changed that the overview is made from; empty where no run has begun."""
    runs = list(_times(directory))
    return runs and [*runs, *(path.stat().st_mtime for path in directory.glob(EXPERIMENT))]


def _times(directory: Path) -> Iterator[float]:
    """Yield when metrics and results of the runs were changed; of thousands, `Path.glob` would take a second."""
    for row in _entries(directory):
        for run in _entries(row):
            for name in (METRICS, RESULT) if run.name.startswith("seed") else ():
                with suppress(OSError):
                    yield os.stat(os.path.join(run.path, name)).st_mtime  # noqa: PTH116, PTH118


def _entries(place: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(place))
    except OSError:  # a file, or a folder that is not ours to read
        return []


def _replace(folder: Path, content: bytes) -> None:
    """Write an event file and remove the ones before it; a reader who sees both counts the new one alone."""
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        before = [path for path in folder.iterdir() if path.match(EVENT_FILES) or is_temporary(path)]
        atomic_write_bytes(folder / next_name(folder), content)
        for path in before:
            path.unlink(missing_ok=True)


def _remove_others(folder: Path, kept: Iterable[str]) -> None:
    """Remove what is there of rows that are no longer; only files that are ours, and folders that are then empty."""
    names = set(kept)
    with explain_os_errors(folder):
        for place in folder.iterdir():
            if place.name in names or not place.is_dir() or place.is_symlink():
                continue
            for path in place.glob(EVENT_FILES):
                path.unlink(missing_ok=True)
            if not any(place.iterdir()):
                place.rmdir()
