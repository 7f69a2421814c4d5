"""What is shown of a table's tuning: the values found, and what a smaller budget would have found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from grng.report.columns import NOTHING, Column, fixed, number
from grng.report.tuning import OBJECTIVES, RowTuning, written
from grng.report.tuning_curves import BAND, Curve, Point, lead_sentence

if TYPE_CHECKING:
    from grng.report.tables import Table


def value_columns(table: Table) -> list[Column]:
    """Return a row for each row that was tuned: its trials, the best validation value, and what it was found with."""
    tuned = [(label, table.tuning[label]) for label in table.labels if label in table.tuning]
    objectives = {one.objective for _, one in tuned}
    best = OBJECTIVES.get(next(iter(objectives)), "value") if len(objectives) == 1 else "value"

    def column(title: str, cells: Sequence[str], *, left: bool = False, names: bool = False) -> Column:
        return Column(title, "left" if left else "right", tuple(cells), None if names else "accuracy")

    columns = [
        column("optimizer", [label for label, _ in tuned], left=True, names=True),
        column("trials", [str(one.trials) for _, one in tuned]),
        column("diverged", [str(one.diverged) for _, one in tuned]),
        column("failed", [str(one.failed) for _, one in tuned]),
        column(f"best {best}", [_value(one) for _, one in tuned]),
        column("values found", [written(one.values) for _, one in tuned], left=True),
    ]
    return [one for one in columns if one.title != "failed" or any(tuning.failed for _, tuning in tuned)]


def curve_columns(table: Table) -> list[Column]:
    """Return a row for each curve, a column for each budget: the expected best and its band."""
    ks = sorted({k for curve in table.curves.values() for k in curve.ks})
    objectives = {curve.objective for curve in table.curves.values()}
    rows = list(table.curves.items())
    alike = len(objectives) == 1
    names = [label if alike else f"{label}, {OBJECTIVES.get(curve.objective, 'value')}" for label, curve in rows]
    heading = f"best {OBJECTIVES.get(next(iter(objectives)), 'value')} of k trials" if alike else "best of k trials"
    columns = [Column(heading, "left", tuple(names), None)]
    for k in ks:
        cells = tuple(point_text(curve, curve.at(k)) for _, curve in rows)
        columns.append(Column(f"k = {k}", "right", cells, "accuracy"))
    return columns


def point_text(curve: Curve, point: Point | None) -> str:
    """Return "0.912 [0.900, 0.930]"; "∞" for a value that no draw is sure to have."""
    if point is None:
        return NOTHING
    text = [fixed(value) if curve.maximise else number(value) for value in (point.mean, point.low, point.high)]
    return text[0] if len(set(text)) == 1 else f"{text[0]} [{text[1]}, {text[2]}]"


def curve_remarks(table: Table) -> list[str]:
    """Return the sentence that names the lead at each budget, and how the curves are to be read."""
    if not table.curves:
        return []
    curves = list(table.curves.values())
    lead = lead_sentence(table.curves, OBJECTIVES.get(curves[0].objective, "value").removesuffix(", s"))
    remarks = [lead] if lead else []
    what = (
        f"best of k trials: expected over all ways of drawing k of a row's trials, with {100 * BAND:.0f} % of the draws"
    )
    infinite = any(math.isinf(value) for curve in curves for p in curve.points for value in (p.mean, p.high))
    worst = "; ∞: draws of trials alone that diverged or never reached the target" if infinite else ""
    adaptive = "; TPE's trials depend on those before them" if any(curve.sampler == "tpe" for curve in curves) else ""
    return [*remarks, f"{what}{worst}{adaptive}"]


def tuning_as_dict(table: Table) -> dict[str, Any]:
    """Return the tuning of the rows and their curves as JSON; what is infinite is "inf", as elsewhere in a table."""
    return {
        "tuning": {label: {**one.model_dump(mode="json"), "trials": one.trials} for label, one in table.tuning.items()},
        "tuning_curves": [
            {
                "label": label,
                "objective": curve.objective,
                "sampler": curve.sampler,
                "trials": curve.trials,
                "band": BAND,
                "points": points_as_dicts(curve),
            }
            for label, curve in table.curves.items()
        ],
    }


def points_as_dicts(curve: Curve) -> list[dict[str, Any]]:
    """Return the points of a curve as JSON."""

    def plain(value: float) -> float | str:
        return "inf" if math.isinf(value) else value

    return [
        {"k": one.k, "mean": plain(one.mean), "low": plain(one.low), "high": plain(one.high)} for one in curve.points
    ]


def _value(tuning: RowTuning) -> str:
    if tuning.value is None:
        return "∞"
    return fixed(tuning.value) if tuning.objective == "accuracy" else number(tuning.value)
