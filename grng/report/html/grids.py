"""The tables of the page: results with intervals, runs that did not finish, coverage, hyperparameters, environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from grng.report.asked import heading
from grng.report.columns import NOTHING, fixed, number, points
from grng.report.html.blocks import Cell, Grid, Head, SortKey
from grng.report.html.cost_figures import finished
from grng.report.metric_lines import metric_lines
from grng.report.records import Experiment, Run
from grng.report.row import FIELDS, Row
from grng.report.tables import Table
from grng.report.tuning import written
from grng.runs.result import RunResult
from grng.statistics import mean_interval

_MESSAGE = 600
_MOST_LOST = 500


def result_grid(experiment: Experiment, table: Table, caption: str) -> Grid:
    """Return the table of results: every number with its interval over seeds, sortable.

    Args:
        experiment: The runs.
        table: Their table.
        caption: What it is the table of.
    """
    columns = _columns(experiment, table)
    heads = tuple(head for head, _ in columns)
    rows = tuple(tuple(cell(row) for _, cell in columns) for row in table.rows)
    return Grid(caption, heads, rows, sortable=True)


Column = tuple[Head, Callable[[Row], Cell]]


def _columns(experiment: Experiment, table: Table) -> list[Column]:
    against = f"against {table.reference}, points"
    target = "the target" if table.target is None else f"{table.target:g} val. accuracy"
    several = len(table.rows) > 1
    columns: list[Column] = [
        (
            Head("optimizer", numeric=False),
            lambda r: Cell(r.label, "reference" if r.is_reference and several else "", r.label),
        ),
        (Head("seeds", "runs that finished"), lambda r: Cell(str(r.n), key=r.n)),
        (Head("diverged"), lambda r: Cell(str(r.diverged), key=r.diverged)),
    ]
    if any(row.failed or row.unfinished for row in table.rows):
        columns.append((Head("failed, unfinished"), _lost))
    columns.append(_span_column("test accuracy", "test_accuracy"))
    if several:
        columns += [
            (Head(against, "mean paired difference in test accuracy"), _difference),
            (Head("p", "exact sign-flip test; below: Holm-adjusted for all rows"), _p),
            (Head("verdict", numeric=False), lambda r: Cell(r.verdict, key=r.verdict)),
        ]
    columns += [
        _span_column("test loss", "test_loss"),
        _span_column("train loss", "train_loss"),
        _span_column("val. accuracy", "val_accuracy"),
        (Head(f"steps to {target}", "median; below: range of the seeds"), _to_target(experiment, "step")),
        (Head("time to it, s", "median; below: range of the seeds"), _to_target(experiment, "time_s")),
        (Head("step, ms"), _measured(experiment, lambda r: r.time.step_ms, timed=True)),
    ]
    if several:
        columns.append((Head(f"step / {table.reference}'s", "geometric mean of paired ratios"), _step_ratio))
    columns += [
        (Head("training, s"), _measured(experiment, lambda r: r.time.train_s, timed=True)),
        (Head("total, s"), _measured(experiment, lambda r: r.time.total_s, timed=True)),
        (Head("memory growth, MB"), _measured(experiment, lambda r: r.memory.growth_mb)),
        (
            Head("state, B/parameter"),
            lambda r: Cell(number(r.state_bytes_per_parameter, 2), key=r.state_bytes_per_parameter),
        ),
    ]
    return columns + [_asked(name) for name in table.columns]


def _span_column(title: str, name: str) -> Column:
    def cell(row: Row) -> Cell:
        mean, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
        ends = "" if low is None or high is None else f"[{fixed(low)}, {fixed(high)}]"
        return Cell(fixed(mean), ends, _key(mean))

    return Head(title, FIELDS[name].meaning), cell


def _asked(name: str) -> Column:
    def cell(row: Row) -> Cell:
        numbers = row.numbers
        low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
        ends = "" if low is None or high is None else f"[{number(low)}, {number(high)}]"
        return Cell(number(numbers[name]), ends, _key(numbers[name]))

    return Head(heading(name), FIELDS[name].meaning), cell


def _lost(row: Row) -> Cell:
    return Cell(f"{row.failed}, {row.unfinished}", key=row.failed + row.unfinished)


def _difference(row: Row) -> Cell:
    if row.is_reference:
        return Cell("reference", key=0.0)
    mean, _, ends = points(row).partition(" ")
    return Cell(mean, ends, _key(row.difference))


def _p(row: Row) -> Cell:
    if row.p_value is None:
        return Cell(NOTHING)
    return Cell(f"{row.p_value:.2g}", f"Holm {row.p_adjusted:.2g}" if row.p_adjusted is not None else "", row.p_value)


def _step_ratio(row: Row) -> Cell:
    if row.step_ratio is None:
        return Cell(NOTHING)
    low, high = row.step_ratio_low, row.step_ratio_high
    ends = "" if low is None or high is None else f"[{number(low)}, {number(high)}]"
    return Cell(f"{row.step_ratio:.2f} ×{_star(row, timed=True)}", ends, row.step_ratio)


def _to_target(experiment: Experiment, name: str) -> Callable[[Row], Cell]:
    timed = name == "time_s"

    def cell(row: Row) -> Cell:
        value = row.time_to_target if timed else row.steps_to_target
        if not row.target_runs or value is None:
            return Cell(NOTHING)
        text = number(value) if timed or not math.isfinite(value) else f"{value:.0f}"
        runs = [run.result for run in experiment.of(row.label) if run.status in ("finished", "diverged") and run.result]
        reached = [v for r in runs if (v := getattr(r.target, name)) is not None and not (timed and r.time.shared)]
        show = number if timed else fixed_steps
        ends = f"{show(min(reached))} to {show(max(reached))}" if len(reached) > 1 else ""
        often = "" if row.reached == row.target_runs else f"{row.reached} of {row.target_runs} runs"
        return Cell(text + _star(row, timed=timed), "; ".join(filter(None, (often, ends))), value)

    return cell


def fixed_steps(value: float) -> str:
    """Return a number of steps."""
    return f"{value:.0f}"


def _measured(
    experiment: Experiment, get: Callable[[RunResult], float | None], *, timed: bool = False
) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        values = [value for result in finished(experiment, row.label) if (value := get(result)) is not None]
        if not values:
            return Cell(NOTHING)
        span = mean_interval(values)
        ends = "" if span.low is None or span.high is None else f"[{number(span.low)}, {number(span.high)}]"
        return Cell(number(span.mean) + _star(row, timed=timed), ends, span.mean)

    return cell


def _star(row: Row, *, timed: bool) -> str:
    return "*" if timed and row.time_mark else ""


def _key(value: float | int | None) -> SortKey:
    return None if value is None or math.isnan(value) else float(value)


def failure_grid(runs: Sequence[Run]) -> Grid | None:
    """Return the first runs that did not finish, with what became of them; None where all did."""
    lost = [run for run in runs if run.status != "finished"]
    if not lost:
        return None
    heads = tuple(Head(title, numeric=False) for title in ("run", "status", "reason", "steps", "message", "directory"))
    rows = tuple(
        (
            Cell(run.name, key=run.name),
            Cell(run.status, key=run.status),
            Cell((run.result.reason if run.result else None) or NOTHING),
            Cell(_steps(run)),
            Cell(_message(run)),
            Cell(str(run.directory)),
        )
        for run in lost[:_MOST_LOST]
    )
    rest = f", the first {_MOST_LOST} of {len(lost)}" if len(lost) > _MOST_LOST else ""
    return Grid(f"Runs that did not finish{rest}", heads, rows, sortable=True)


def _steps(run: Run) -> str:
    """Return how far a run got; where it was killed or timed out, its result does not say, but its log does."""
    result = run.result
    logged = 0
    if run.status != "missing" and (result is None or not result.steps):
        last = metric_lines(run.directory, lambda place, count, _text: place == count - 1)
        logged = max((step for step, _ in last), default=0)
    if result is None and not logged:
        return NOTHING
    steps, planned = (result.steps, result.planned_steps) if result is not None else (0, None)
    return f"{max(steps, logged)} of {planned or '?'}"


def _message(run: Run) -> str:
    text = ((run.result.message if run.result else None) or run.problem or "").strip()
    return text if len(text) <= _MESSAGE else f"…{text[-_MESSAGE:]}"


def coverage_grids(experiment: Experiment) -> list[Grid]:
    """Return how many parameters each row preconditions how, and why not; empty where no row has curvature."""
    results = {label: _covered(experiment, label) for label in experiment.labels}
    known = {label: result for label, result in results.items() if result is not None and result.parameters.total}
    if not any(result.coverage for result in known.values()):
        return []
    ways = ("kronecker", "diagonal", "filter", "adamw")
    heads = (Head("optimizer", numeric=False), Head("parameters"), Head("trainable"), *(Head(way) for way in ways))
    rows = []
    for label, result in known.items():
        numbers = [result.parameters.total, result.parameters.trainable]
        shares = [_share(getattr(result.parameters, way), result.parameters.trainable) for way in ways]
        rows.append(
            (Cell(label, key=label), *(Cell(f"{n:,}" if n is not None else NOTHING, key=n) for n in numbers), *shares)
        )
    grids = [Grid("How many parameters are preconditioned how", heads, tuple(rows), sortable=True)]
    details = tuple(cells for label, result in known.items() for cells in _reasons(label, result))
    titles = (("optimizer", False), ("rule", False), ("reason", False), ("tensors", True), ("parameters", True))
    return [*grids, Grid("Rules and reasons", tuple(Head(t, numeric=n) for t, n in titles), details, folded=True)]


def _covered(experiment: Experiment, label: str) -> RunResult | None:
    results = [run.result for run in experiment.of(label) if run.result is not None]
    return next((result for result in results if result.coverage), results[0] if results else None)


def _share(count: int | None, trainable: int | None) -> Cell:
    if not count:
        return Cell(NOTHING, key=0)
    share = f"{100 * count / trainable:.1f} %" if trainable else ""
    return Cell(f"{count:,}", share, count)


def _reasons(label: str, result: RunResult) -> Iterable[tuple[Cell, ...]]:
    counts: dict[tuple[str, str], list[int]] = {}
    for entry in result.coverage or ():
        size = entry.get("numel")
        counts.setdefault((str(entry.get("rule")), str(entry.get("reason") or "")), []).append(
            size if isinstance(size, int) else 0
        )
    for (rule, reason), sizes in counts.items():
        yield Cell(label), Cell(rule), Cell(reason or NOTHING), Cell(str(len(sizes))), Cell(f"{sum(sizes):,}")


def hyperparameter_grid(experiment: Experiment) -> Grid | None:
    """Return what each row was run with; None where no run tells."""
    found = {label: next((r.result for r in experiment.of(label) if r.result), None) for label in experiment.labels}
    rows = [
        (Cell(label), Cell(result.optimizer), Cell(written(result.hyperparameters)))
        for label, result in found.items()
        if result is not None
    ]
    heads = tuple(Head(title, numeric=False) for title in ("row", "optimizer", "hyperparameters"))
    return Grid("Hyperparameters", heads, tuple(rows), folded=True) if rows else None


def environment_grid(results: Sequence[RunResult]) -> Grid | None:
    """Return versions and machines, with the number of runs where they differ; None without a result."""
    if not results:
        return None
    rows = []
    for name in type(results[0].environment).model_fields:
        counts: dict[str, int] = {}
        for result in results:
            value = getattr(result.environment, name)
            if value is not None:
                counts[str(value)] = counts.get(str(value), 0) + 1
        told = [
            value if len(counts) == 1 else f"{value} ({count} of {len(results)} runs)"
            for value, count in counts.items()
        ]
        if told:
            rows.append((Cell(name.replace("_", " ")), Cell(", ".join(told))))
    heads = (Head("what", numeric=False), Head("value", numeric=False))
    return Grid("Versions and machine", heads, tuple(rows))
