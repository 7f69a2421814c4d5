"""`grng compare --plan`: how many seeds, in a small table and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grng_cli.output import Output
from grng_cli.wording import seconds

if TYPE_CHECKING:
    from grng.experiments.seed_plan import PlannedRow, SeedPlan
    from grng.experiments.workloads.compare import PreparedWorkloads


def show_plan(workloads: PreparedWorkloads, printer: Output) -> None:
    """Work out the plan of a comparison, on each of its workloads, and print it.

    Raises:
        GrngError: Something is missing, or the pilot cannot be used.
    """
    from grng.experiments.seed_plan import plan_seeds

    printer.chatter("measuring a few steps of each optimizer …")
    plans = [plan_seeds(prepared) for prepared in workloads.each]
    if not workloads.several:
        (plan,) = plans
        if printer.json_only:
            printer.document(_as_dict(plan))
        else:
            _print(plan, printer)
        return
    names = [str(name) for name in workloads.names]
    seeds = [plan.seeds for plan in plans]
    most = None if None in seeds else max(one for one in seeds if one is not None)
    if printer.json_only:
        documents = [{"name": name, **_as_dict(plan)} for name, plan in zip(names, plans, strict=True)]
        printer.document({"workloads": documents, "seeds": most})
        return
    for name, plan in zip(names, plans, strict=True):
        printer.data(name)
        _print(plan, printer)
        printer.data()
    if most is not None:
        slowest = next(name for name, plan in zip(names, plans, strict=True) if plan.seeds == most)
        printer.sentence(f"over all workloads: {most} seeds, which {slowest} takes, since all have the same.")


def _print(plan: SeedPlan, printer: Output) -> None:
    printer.data(_table(plan))
    printer.sentence(sentence(plan))
    for remark in plan.remarks:
        printer.prose(f"note: {remark}")


def sentence(plan: SeedPlan) -> str:
    """Return the plan in words."""
    comparisons = f"{plan.comparisons} comparison{'' if plan.comparisons == 1 else 's'}"
    what = (
        f"a difference of {_points(plan.effect)} of test accuracy to {plan.reference} with a probability of "
        f"{100 * plan.power:.3g} %, at {100 * plan.alpha:.3g} % after Holm's correction for {comparisons}"
    )
    if plan.seeds is None:
        return f"no number of seeds up to 10,000 finds {what}. Nothing was written."
    runs = plan.seeds * len(plan.rows)
    at_once = f" with {plan.workers} at once" if plan.workers > 1 else ""
    cost = "not measured, the data is not there" if plan.seconds is None else f"about {seconds(plan.seconds)}"
    floor = f"; with fewer than {plan.floor} seeds the exact test can never" if plan.seeds == plan.floor else ""
    tuning = ""
    if plan.tuning_runs:
        share = "" if plan.tuning_seconds is None else f" ({seconds(plan.tuning_seconds)} of it)"
        tuning = f" and once {plan.tuning_runs} of trials{share}"
    return f"{plan.seeds} seeds find {what}{floor}. {runs} runs{tuning}{at_once}: {cost}. Nothing was written."


def _points(fraction: float) -> str:
    text = f"{100 * fraction:.3g}"
    return f"{text} point" if text == "1" else f"{text} points"


def _table(plan: SeedPlan) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("optimizer", "spread, points", "pilot's pairs", "seeds", "a run"):
        table.add_column(head, justify="left" if head == "optimizer" else "right", overflow="fold")
    for row in plan.rows:
        pairs = "" if row.spread is None or row.spread.pairs is None else str(row.spread.pairs)
        table.add_row(Text(row.label), _spread(row), pairs, _seeds(row), seconds(row.seconds))
    return table


def _spread(row: PlannedRow) -> str:
    return "reference" if row.spread is None else f"{100 * row.spread.sd:.2g}"


def _seeds(row: PlannedRow) -> str:
    if row.spread is None:
        return ""
    return "> 10000" if row.seeds is None else str(row.seeds)


def _as_dict(plan: SeedPlan) -> dict[str, Any]:
    return {
        "reference": plan.reference,
        "effect": plan.effect,
        "power": plan.power,
        "alpha": plan.alpha,
        "comparisons": plan.comparisons,
        "smallest_possible_seeds": plan.floor,
        "seeds": plan.seeds,
        "runs": None if plan.seeds is None else plan.seeds * len(plan.rows),
        "workers": plan.workers,
        "estimated_seconds": None if plan.seconds is None else round(plan.seconds, 1),
        **(
            {
                "tuning_runs": plan.tuning_runs,
                "tuning_estimated_seconds": None if plan.tuning_seconds is None else round(plan.tuning_seconds, 1),
            }
            if plan.tuning_runs
            else {}
        ),
        "rows": [
            {
                "label": row.label,
                "is_reference": row.spread is None,
                "spread": row.spread and row.spread.sd,
                "spread_low": row.spread and row.spread.low,
                "spread_high": row.spread and row.spread.high,
                "pilot_pairs": row.spread and row.spread.pairs,
                "seeds": row.seeds,
                "estimated_seconds_per_run": None if row.seconds is None else round(row.seconds, 1),
            }
            for row in plan.rows
        ],
        "remarks": list(plan.remarks),
    }
