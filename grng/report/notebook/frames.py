"""Tables as pandas data frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grng.report.notebook.needed import needed
from grng.report.tables import Table

if TYPE_CHECKING:
    import pandas as pd


def table_frame(table: Table) -> pd.DataFrame:
    """Return a table with a row an optimizer: the verdict, then every field that some row has (`grng.report.row`).

    Accuracies and differences are fractions; what was never reached is infinity, what does not exist NaN.

    Raises:
        GrngError: pandas is not installed.
    """
    pandas = needed("pandas", where=".table()")
    return pandas.DataFrame(_records(table), index=pandas.Index(table.labels, name="optimizer")).dropna(
        axis=1, how="all"
    )


def workloads_frame(tables: Mapping[str, Table]) -> pd.DataFrame:
    """Return the tables of several workloads below each other, with the workload as the first level of the index.

    Raises:
        GrngError: pandas is not installed.
    """
    pandas = needed("pandas", where=".table()")
    keys = [(name, label) for name, table in tables.items() for label in table.labels]
    records = [record for table in tables.values() for record in _records(table)]
    index = pandas.MultiIndex.from_tuples(keys, names=["workload", "optimizer"])
    return pandas.DataFrame(records, index=index).dropna(axis=1, how="all")


def _records(table: Table) -> list[dict[str, Any]]:
    return [
        {"verdict": row.verdict, **{name: _number(value) for name, value in row.numbers.items()}} for row in table.rows
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def trials_frame(trials: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the trials of a sweep with a row a trial, in the order in which they were begun.

    Args:
        trials: Of each the number, as `trial`, and what else there is to say of it.

    Raises:
        GrngError: pandas is not installed.
    """
    pandas = needed("pandas", where=".table()")
    return pandas.DataFrame.from_records(list(trials), index="trial") if trials else pandas.DataFrame()
