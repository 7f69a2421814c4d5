"""Curves drawn with characters, for `--plot`: uniplot draws; what is drawn, and with which characters, is here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from grng_cli.output import Output
from grng_cli.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from grng.experiments.sweeps.summary import Summary
    from grng.report.over_seeds import RowCurves
    from grng.report.workloads import Workloads
    from grng.runs.result import RunResult

Points = Sequence[tuple[float, float]]

_WIDEST = 100
_PIPED = 80
_HEIGHT = 12
_FEWEST_EPOCHS = 4
"""With fewer, the batches' losses say more than the epochs' means."""

_TO_ASCII = str.maketrans("─│┌┐└┘├┤┬┴┼▁", "-|+++++++++_")


def draw(title: str, series: Mapping[str, Points], console: Console) -> Text | None:
    """Return lines and their legend as text that fits `console`; None where there is no point.

    Where series cannot be told apart by colour they are by character, and where the encoding is not UTF-8 all is ASCII.

    Args:
        title: Above the drawing.
        series: Points (x, y) by name; those that are not finite are left out.
        console: Where it will be printed.
    """
    kept = {printable(name, lines=False): _finite(points) for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return None
    from uniplot import plot_to_string

    coloured = console.color_system is not None
    unicode = console.encoding.lower().replace("-", "").startswith("utf")
    blocks = unicode and (coloured or len(kept) == 1)
    width = min(console.width, _WIDEST) if console.is_terminal else _PIPED
    drawn: Any = plot_to_string(
        xs=[[x for x, _ in points] for points in kept.values()],
        ys=[[y for _, y in points] for points in kept.values()],
        lines=[len(points) > 1 for points in kept.values()],
        legend_labels=list(kept),
        title=title,
        character_set="block" if blocks else "ascii",
        color=coloured,
        height=_HEIGHT,
        width=width,
        line_length_hard_cap=width,
        y_gridlines=[],
        x_gridlines=[],
    )
    lines = [line.rstrip() for line in str(drawn).splitlines()]
    text = "\n".join(lines)
    if not unicode:
        text = text.translate(_TO_ASCII).encode(console.encoding, "replace").decode(console.encoding)
    return Text.from_ansi(text)


def _finite(points: Points) -> Points:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def plot_rows(rows: Sequence[RowCurves], printer: Output, *, name: str | None = None) -> None:
    """Draw validation accuracy and training loss of rows, means over their seeds, against epochs or steps.

    Args:
        rows: With what was measured.
        printer: Of the command.
        name: Of the workload, where there are several.
    """
    per_epoch = {row.steps_per_epoch for row in rows}
    epoch = per_epoch.pop() if len(per_epoch) == 1 else None
    axis = "steps" if epoch is None else "epochs"
    loss = "epoch_loss" if _many_epochs(rows) else "train_loss"
    before = "" if name is None else f"{name}: "
    for quantity, title in (("val_accuracy", "validation accuracy"), (loss, "training loss, nats")):
        series = {
            row.label: [(point.step / (epoch or 1), point.mean) for point in row.over_seeds(quantity)] for row in rows
        }
        printer.drawing(partial(draw, f"{before}{title}, by {axis}", series))


def _many_epochs(rows: Sequence[RowCurves]) -> bool:
    counts = [len(run.values.get("epoch_loss", {})) for row in rows for run in row.runs]
    return bool(counts) and min(counts) >= _FEWEST_EPOCHS


def plot_run(result: RunResult, directory: Path, printer: Output) -> None:
    """Draw the curves of one run."""
    from grng.report.over_seeds import RowCurves
    from grng.report.run_curves import read_run_curves

    diverged = result.status == "diverged"
    plot_rows([RowCurves(result.label, (read_run_curves(directory),), (diverged,))], printer)


def plot_workloads(workloads: Workloads, printer: Output) -> None:
    """Draw the curves of a comparison, on each workload."""
    from grng.report.over_seeds import curves_of_rows

    for name, experiment in workloads.each.items():
        plot_rows(curves_of_rows(experiment), printer, name=name if workloads.several else None)


def plot_sweep(summary: Summary, printer: Output) -> None:
    """Draw what each trial came to, and the best so far."""
    from grng.experiments.sweeps.objectives import TITLES

    trials = [(float(trial.number), trial.value) for trial in summary.trials if trial.value is not None]
    best: Points = [(float(trial.number), trial.value) for trial in summary.improvements if trial.value is not None]
    if best and trials:
        last = max(number for number, _ in trials)
        best = _held(best, last)
    title = f"{TITLES[summary.objective]}, by trial"
    printer.drawing(partial(draw, title, {"best so far": best, "trial": trials}))


def _held(points: Points, last: float) -> Points:
    """Return points that keep each value until the next one comes, and the last one to the end."""
    held: list[tuple[float, float]] = []
    for x, y in points:
        if held and x > held[-1][0]:
            held.append((x, held[-1][1]))
        held.append((x, y))
    return [*held, (last, held[-1][1])]
