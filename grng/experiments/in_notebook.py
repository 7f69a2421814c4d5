"""What a finished comparison offers in a notebook, read from its directory when asked for."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from grng.errors import GrngError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from grng.report.tables import Table
    from grng.report.workloads import Workloads


class ComparisonInNotebook:
    """A comparison's directory as a table, a figure and HTML; of several workloads one of each."""

    directory: Path

    def table(self) -> pd.DataFrame:
        """Return a row an optimizer: the verdict, means, intervals, differences, p-values, steps to target, costs.

        The columns are the fields of `grng.report.row.Row` that some row has; the index is the label, over several
        workloads the workload's name and the label.

        Raises:
            GrngError: pandas is not installed (`pip install 'grng[notebook]'`), or the directory is gone.
        """
        from grng.report.notebook.frames import table_frame, workloads_frame

        several, tables = self._tables()
        return workloads_frame(tables) if several else table_frame(next(iter(tables.values())))

    def plot(self, y: str = "val_accuracy", *, x: str = "step") -> go.Figure:
        """Return learning curves, a line an optimizer: the mean over its seeds, each seed as a thin line.

        Args:
            y: `val_accuracy`, `val_loss`, `train_loss` or `train_accuracy`.
            x: `step`, or `time` on the training clock in seconds.

        Raises:
            GrngError: plotly is not installed (`pip install 'grng[notebook]'`), or the directory is gone.
            UnknownNameError: There is no such `x` or `y`.
        """
        from grng.report.notebook.figures import comparison_figure

        return comparison_figure(self._read().each, y=y, x=x)

    def _repr_html_(self) -> str:
        from grng.report.notebook.page import table_html, title_of

        try:
            several, tables = self._tables()
        except GrngError as error:
            return f"<p>{html.escape(str(error))}</p>"
        names = [f"{name}: " if several else "" for name in tables]
        pieces = [
            table_html(table, title=f"{name}{title_of(table)}")
            for name, table in zip(names, tables.values(), strict=True)
        ]
        return "".join([*pieces, f"<p><small>{html.escape(str(self.directory))}</small></p>"])

    def _read(self) -> Workloads:
        from grng.report.workloads import load_workloads

        return load_workloads(self.directory)

    def _tables(self) -> tuple[bool, dict[str, Table]]:
        """Return whether there are several workloads, and the table of each, as `grng report` has them."""
        from grng.experiments.questions import questions_of
        from grng.report.tables import summarise

        found = self._read()
        asked = questions_of(found.labels, found.runs)
        tables = {
            name: summarise(experiment, margin=asked.margin, interval=asked.interval)
            for name, experiment in found.each.items()
        }
        return found.several, tables
