"""What a page is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grng.report.html.blocks import Grid, Prose
from grng.report.html.sweeps import Sweep
from grng.report.overall import Overall
from grng.report.records import Experiment
from grng.report.tables import Table


@dataclass(frozen=True, slots=True)
class Part:
    """One workload of the page.

    Attributes:
        name: As headings call it.
        experiment: Its runs.
        table: Their table.
    """

    name: str
    experiment: Experiment
    table: Table


@dataclass(frozen=True, slots=True)
class Content:
    """All that a page is made from.

    Attributes:
        parts: The workloads.
        overall: What holds over several of them.
        sweeps: Searches for hyperparameters that the report was asked of.
        claims: Tables of judged claims, and what must be said beside them.
        warnings: What was odd about the directories.
        document: The JSON document of the report; "" where there is none.
    """

    parts: Sequence[Part] = ()
    overall: Overall | None = None
    sweeps: Sequence[Sweep] = ()
    claims: Sequence[Grid | Prose] = ()
    warnings: Sequence[str] = ()
    document: str = ""
