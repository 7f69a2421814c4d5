"""An experiment -> a table: one row of numbers a label, with what must be said about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from grng.diagnostics.names import DIAGNOSTICS
from grng.report.asked import missing_values
from grng.report.checks import apart_note, machine, notes_of, power_note, time_mark, warnings_of
from grng.report.pairing import Pair, pair_runs
from grng.report.records import Experiment, Run
from grng.report.row import Row
from grng.report.tuning import Tunings, notes_of_tuning, warnings_of_tuning
from grng.report.verdicts import compared
from grng.runs.result import RunResult
from grng.statistics import Interval, IntervalKind, mean_interval, median, ratio_interval

if TYPE_CHECKING:
    from grng.report.tuning_curves import Curve

Getter = Callable[[RunResult], float | int | None]


@dataclass(frozen=True, slots=True)
class Table:
    """The report of an experiment.

    Attributes:
        rows: In the experiment's order.
        reference: Label of the row that the others are compared with.
        model: The model's name; None when no run has a result.
        dataset: The data set's name; None when no run has a result.
        target: Validation accuracy to reach, a fraction; None without one.
        seeds: All seeds that occur.
        workers: How many runs went at once; None when not recorded.
        machines: Where the runs ran: device, its name and threads, in words.
        warnings: What makes a number wrong or missing; to be shown loudly.
        notes: What a reader must know to read the numbers.
        columns: Fields of a row that were asked for as further columns.
        margin: Largest difference in test accuracy that does not matter, a fraction; None: equivalence is not tested.
        interval: What the intervals are.
        tuning: How rows were tuned, by label.
        curves: What smaller tuning budgets would have found, by label.
    """

    rows: tuple[Row, ...]
    reference: str
    model: str | None
    dataset: str | None
    target: float | None
    seeds: tuple[int, ...]
    workers: int | None
    machines: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    margin: float | None = None
    interval: IntervalKind = "t"
    tuning: Tunings = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The rows' names, in order."""
        return tuple(row.label for row in self.rows)

    def row(self, label: str) -> Row:
        """Return a row by its name; KeyError when there is none."""
        for row in self.rows:
            if row.label == label:
                return row
        raise KeyError(label)


def summarise(
    experiment: Experiment,
    *,
    include_shared_times: bool = False,
    columns: Sequence[str] = (),
    margin: float | None = None,
    interval: IntervalKind = "t",
) -> Table:
    """Make the table of `experiment`.

    Args:
        experiment: From `load_experiment`.
        include_shared_times: Let runs that shared their cores or device count in `time_to_target` and its ratio.
        columns: Fields to show as further columns; checked by `asked.check_columns`.
        margin: Largest difference in test accuracy that does not matter, a positive fraction; verdicts may then be
            "equivalent within ±0.5 points".
        interval: "bootstrap": BCa intervals from 20 seeds on.
    """
    runs = _by_label(experiment)
    references = runs[experiment.reference]
    pairs = {label: pair_runs(of_label, references) for label, of_label in runs.items()}
    rows = [_numbers(label, runs[label], include_shared_times, interval) for label in experiment.labels]
    rows = [_tuned(row, experiment) for row in rows]
    reference = next(row for row in rows if row.label == experiment.reference)
    rows = [
        _ratios(
            row,
            reference,
            pairs[row.label].proven,
            include_shared_times=include_shared_times,
            mark=time_mark(runs[row.label], references),
            interval=interval,
        )
        for row in rows
    ]
    rows = compared(rows, reference, pairs, margin=margin, interval=interval)
    results = [run.result for run in experiment.runs if run.result is not None]
    notes = notes_of(experiment, rows, include_shared_times=include_shared_times, margin=margin, interval=interval)
    comparisons = sum(row.p_value is not None for row in rows)
    power = power_note(max((row.pairs for row in rows), default=0), comparisons) or apart_note(rows, comparisons)
    model = results[0].model if results else None
    dataset = results[0].dataset if results else None
    tuning = experiment.tuning
    unfair = warnings_of_tuning(experiment.labels, tuning, model=model, dataset=dataset)
    notes = [*notes_of_tuning(experiment.labels, tuning), *notes]
    return Table(
        rows=tuple(rows),
        reference=experiment.reference,
        model=model,
        dataset=dataset,
        target=next((result.target.accuracy for result in results if result.target.accuracy is not None), None),
        seeds=experiment.seeds,
        workers=experiment.workers,
        machines=tuple(dict.fromkeys(machine(result) for result in results)),
        warnings=(*experiment.warnings, *warnings_of(experiment, runs, pairs), *missing_values(runs, columns), *unfair),
        notes=(*notes, power) if power else tuple(notes),
        columns=tuple(columns),
        margin=margin,
        interval=interval,
        tuning=tuning,
        curves=experiment.curves,
    )


def _tuned(row: Row, experiment: Experiment) -> Row:
    tuning = experiment.tuning.get(row.label)
    return row if tuning is None else replace(row, tuning_trials=tuning.trials)


def _by_label(experiment: Experiment) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {label: [] for label in experiment.labels}
    for run in experiment.runs:
        runs[run.label].append(run)
    return runs


def _numbers(label: str, runs: Sequence[Run], include_shared_times: bool, interval: IntervalKind) -> Row:
    """Fill in what a row says without the reference."""
    finished = [run.result for run in runs if run.status == "finished" and run.result is not None]
    ended = [run.result for run in runs if run.status in ("finished", "diverged") and run.result is not None]
    aiming = [result for result in ended if result.target.accuracy is not None]
    counts = {status: sum(run.status == status for run in runs) for status in ("diverged", "failed")}
    test_accuracy = _mean(finished, lambda r: r.final.test_accuracy, interval)
    test_loss = _mean(finished, lambda r: r.final.test_loss, interval)
    train_loss = _mean(finished, lambda r: r.final.train_loss, interval)
    val_accuracy = _mean(finished, lambda r: r.final.val_accuracy, interval)
    timed = [result for result in aiming if include_shared_times or not result.time.shared]
    return Row(
        label,
        n=len(finished),
        diverged=counts["diverged"],
        failed=counts["failed"],
        unfinished=len(runs) - len(finished) - sum(counts.values()),
        test_accuracy=test_accuracy.mean,
        test_accuracy_low=test_accuracy.low,
        test_accuracy_high=test_accuracy.high,
        test_loss=test_loss.mean,
        test_loss_low=test_loss.low,
        test_loss_high=test_loss.high,
        train_loss=train_loss.mean,
        train_loss_low=train_loss.low,
        train_loss_high=train_loss.high,
        val_accuracy=val_accuracy.mean,
        val_accuracy_low=val_accuracy.low,
        val_accuracy_high=val_accuracy.high,
        val_loss=_mean(finished, lambda r: r.final.val_loss).mean,
        best_val_accuracy=_mean(finished, lambda r: r.best.val_accuracy).mean,
        target_runs=len(aiming),
        reached=sum(result.target.step is not None for result in aiming),
        steps_to_target=_median_or_never(aiming, lambda r: r.target.step),
        time_to_target=_median_or_never(timed, lambda r: r.target.time_s),
        steps=_mean(finished, lambda r: r.steps).mean,
        step_ms=_mean(finished, _step_ms).mean,
        train_time_s=_mean(finished, lambda r: r.time.train_s).mean,
        total_time_s=_mean(finished, lambda r: r.time.total_s).mean,
        memory_growth_mb=_mean(finished, lambda r: r.memory.growth_mb).mean,
        memory_peak_mb=_mean(finished, lambda r: r.memory.peak_mb).mean,
        state_bytes_per_parameter=_mean(finished, _state_bytes_per_parameter).mean,
        diagnostics_s=_mean(finished, lambda r: r.diagnostics.seconds).mean,
        **_diagnostics(finished, interval),
    )


@dataclass(frozen=True, slots=True)
class _Span:
    """An interval, or nothing at all."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


def _span(interval: Interval) -> _Span:
    return _Span(interval.mean, interval.low, interval.high)


def _mean(results: Sequence[RunResult], get: Getter, interval: IntervalKind = "t") -> _Span:
    values = [float(value) for result in results if (value := get(result)) is not None]
    return _span(mean_interval(values, kind=interval)) if values else _Span()


def _diagnostics(finished: Sequence[RunResult], interval: IntervalKind) -> dict[str, Any]:
    """Return the fields of what the runs' diagnostics measured last: each with its interval."""
    fields: dict[str, float | None] = {}
    for name in DIAGNOSTICS:
        span = _mean(finished, attrgetter(f"diagnostics.{name}"), interval)
        fields |= {name: span.mean, f"{name}_low": span.low, f"{name}_high": span.high}
    return fields


def _median_or_never(results: Sequence[RunResult], get: Getter) -> float | None:
    values = [float("inf") if (value := get(result)) is None else float(value) for result in results]
    return median(values) if values else None


def _step_ms(result: RunResult) -> float | None:
    return result.time.step_ms


def _state_bytes_per_parameter(result: RunResult) -> float | None:
    state, trainable = result.memory.optimizer_state_bytes, result.parameters.trainable
    return None if state is None or not trainable else state / trainable


def _ratio(pairs: Sequence[Pair], get: Getter, interval: IntervalKind) -> _Span:
    """Return the paired ratio over the pairs in which both have a positive value."""
    both = [(value, other) for pair in pairs if (value := get(pair.value)) and (other := get(pair.reference))]
    both = [(value, other) for value, other in both if value > 0 and other > 0]
    return _span(ratio_interval([v for v, _ in both], [o for _, o in both], kind=interval)) if both else _Span()


def _ratios(
    row: Row,
    reference: Row,
    pairs: Sequence[Pair],
    *,
    include_shared_times: bool,
    mark: str,
    interval: IntervalKind,
) -> Row:
    """Fill in the paired ratios of `row` to `reference`."""
    step = _ratio(pairs, _step_ms, interval)
    row = replace(
        row, time_mark=mark, step_ratio=step.mean, step_ratio_low=step.low, step_ratio_high=step.high, pairs=len(pairs)
    )
    everyone = all(one.reached == one.target_runs == one.n > 0 for one in (row, reference))
    if not everyone:
        # A ratio over those that got there only would flatter the row that got there less often.
        return row
    timed = [p for p in pairs if include_shared_times or not (p.value.time.shared or p.reference.time.shared)]
    steps = _ratio(pairs, lambda r: r.target.step, interval)
    time = _ratio(timed, lambda r: r.target.time_s, interval)
    return replace(
        row,
        steps_to_target_ratio=steps.mean,
        steps_to_target_ratio_low=steps.low,
        steps_to_target_ratio_high=steps.high,
        time_to_target_ratio=time.mean,
        time_to_target_ratio_low=time.low,
        time_to_target_ratio_high=time.high,
    )
