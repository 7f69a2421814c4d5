"""What a sweep offers in a notebook."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from grng.errors import UnknownNameError, suggest
from grng.experiments.sweeps.objectives import TITLES

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from grng.experiments.sweeps.summary import Summary
    from grng.experiments.sweeps.trials import Trial
    from grng.report.columns import Column

SHOWN_TRIALS = 10
"""How many trials the HTML of a sweep has."""


class SweepInNotebook:
    """A sweep's trials as a table, a figure and HTML."""

    @property
    def _summary(self) -> Summary:
        return cast("Summary", self)

    def table(self) -> pd.DataFrame:
        """Return a row a trial, in the order in which they were begun: status, value, accuracy, what was tried.

        Raises:
            GrngError: pandas is not installed (`pip install 'grng[notebook]'`).
        """
        from grng.report.notebook.frames import trials_frame

        return trials_frame(
            [
                {
                    "trial": trial.number,
                    "status": trial.status,
                    "value": math.nan if trial.value is None else trial.value,
                    "val_accuracy": math.nan if trial.val_accuracy is None else trial.val_accuracy,
                    **trial.values,
                }
                for trial in self._summary.trials
            ]
        )

    def plot(self, x: str | None = None) -> go.Figure:
        """Return the trials that finished as points.

        Args:
            x: A hyperparameter that was searched; None: the trials in their order, with the best so far as a line.

        Raises:
            GrngError: plotly is not installed (`pip install 'grng[notebook]'`).
            UnknownNameError: There is no such hyperparameter, or its values are no numbers.
        """
        from grng.report.notebook.figures import trials_figure

        summary = self._summary
        if x is not None and x not in summary.axes:
            otherwise = f"One of {', '.join(summary.axes)}." if summary.axes else None
            hint = suggest(x, summary.axes, otherwise=otherwise)
            raise UnknownNameError(f"no numbers called {x!r} were searched.", where="x", hint=hint)
        points = [
            (one.number if x is None else one.values[x], one.value, described(one))
            for one in summary.trials
            if one.status == "finished" and one.value is not None and math.isfinite(one.value)
        ]
        best = [(one.number, one.value) for one in summary.improvements if one.value is not None] if x is None else []
        if best:
            best.append((summary.trials[-1].number, best[-1][1]))
        log = x is not None and summary.axes[x].scale == "log"
        return trials_figure(points, best_so_far=best, x=x or "trial", y=TITLES[summary.objective], log=log)

    def _repr_html_(self) -> str:
        from grng.report.notebook.page import columns_html

        summary = self._summary
        counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items() if count)
        title = f"{summary.optimizer} on {summary.model} and {summary.dataset}: {counts or 'no trial'}"
        best = [] if summary.best is None else [f"<p>best: {html.escape(described(summary.best))}</p>"]
        shown = summary.ranked[:SHOWN_TRIALS]
        return "".join(
            [
                f"<p><b>{html.escape(title)}</b></p>",
                *best,
                columns_html(_columns(shown, TITLES[summary.objective])) if shown else "",
                *(f"<p><b>Warning:</b> {html.escape(warning)}</p>" for warning in summary.warnings),
                f"<p><small>{html.escape(str(summary.directory))}</small></p>",
            ]
        )


def _columns(trials: Sequence[Trial], title: str) -> list[Column]:
    from grng.report.columns import Column, number

    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    return [
        Column("trial", "right", tuple(str(trial.number) for trial in trials), None),
        Column("status", "left", tuple(trial.status for trial in trials), None),
        Column(title, "right", tuple(number(trial.value) for trial in trials), None),
        *(Column(name, "right", tuple(str(trial.values.get(name, "")) for trial in trials), None) for name in names),
    ]


def described(trial: Trial) -> str:
    """Return a trial with what it tried, on one line."""
    values = ", ".join(f"{name}={value}" for name, value in trial.values.items())
    return f"trial {trial.number}: {values}"
