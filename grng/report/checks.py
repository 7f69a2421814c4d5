"""What must be said beside the numbers: warnings (a number is missing or wrong) and notes (how to read them)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from grng.report.pairing import Pairs
from grng.report.records import Experiment, Run
from grng.report.row import Row
from grng.runs.result import RunResult
from grng.statistics import BOOTSTRAP_FROM, SIGNIFICANCE, IntervalKind, seeds_needed, smallest_p

Runs = Mapping[str, Sequence[Run]]

_NOWHERE = (None, None, None)
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def few(items: Iterable[object], limit: int = 5) -> str:
    """Return "a, b, c and 4 more"."""
    listed = [str(item) for item in items]
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest


def plural(count: int, noun: str) -> str:
    """Return "1 run" or "3 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def power_note(seeds: int, comparisons: int) -> str | None:
    """Return what `seeds` paired runs cannot show in `comparisons` tests, None when they can show a difference.

    Also for the time before the compute is spent: it needs no result.
    """
    if seeds < 1 or comparisons < 1 or comparisons * smallest_p(seeds) < SIGNIFICANCE:
        return None
    needed = seeds_needed(comparisons)
    number = _WORDS[comparisons] if comparisons < len(_WORDS) else str(comparisons)
    family = f"{number} comparisons, Holm" if comparisons > 1 else "one comparison"
    smallest = f"with {plural(seeds, 'seed')} the smallest possible p is {smallest_p(seeds):.2g}"
    if smallest_p(seeds) < SIGNIFICANCE:
        smallest += f", {min(1.0, comparisons * smallest_p(seeds)):.2g} after Holm's correction"
    return f"{smallest}: no test can reach {SIGNIFICANCE:g}; {needed} seeds can ({family})"


def leaves_out_zero(row: Row) -> bool:
    """Return whether a row is not told apart from the reference although its interval leaves out 0."""
    low, high = row.difference_low, row.difference_high
    if low is None or high is None or not row.verdict.startswith("not distinguishable"):
        return False
    return low > 0 or high < 0


def apart_note(rows: Sequence[Row], comparisons: int) -> str | None:
    """Return why a difference whose interval leaves out 0 may be not distinguishable; None where none is."""
    labels = [row.label for row in rows if leaves_out_zero(row)]
    if not labels:
        return None
    corrected = f", corrected for {comparisons} comparisons; an interval is of one row alone" if comparisons > 1 else ""
    return (
        f"not distinguishable, although 0 is outside of the interval: {few(labels)}; "
        f"verdicts are the exact test's{corrected}"
    )


def time_mark(runs: Sequence[Run], references: Sequence[Run]) -> str:
    """Return why the times of `runs` cannot be compared with the reference's, "" when they can."""
    if any(result.time.shared for result in _results(runs)):
        return "with cores or device shared with other runs"
    # A run that was killed, or timed out, does not say where it was.
    ours, theirs = ({_place(result) for result in _results(of)} - {_NOWHERE} for of in (runs, references))
    if len(ours) > 1:
        return "on several devices or numbers of threads"
    return "on another device or number of threads than the reference" if ours and theirs and ours != theirs else ""


def warnings_of(experiment: Experiment, runs: Runs, pairs: Mapping[str, Pairs]) -> list[str]:
    """Return everything that makes a number of the table missing, incomparable or wrong."""
    results = list(_results(experiment.runs))
    return [
        *_not_there(experiment.runs),
        *_unpaired(experiment.reference, pairs),
        *_mixed(results, "versions of grng", lambda r: r.environment.grng),
        *_mixed(results, "states of grng's own code", lambda r: r.environment.code),
        *_mixed(results, "versions of torch", lambda r: r.environment.torch),
        *_mixed(results, "targets", lambda r: r.target.accuracy),
        *_mixed(results, "batch sizes", lambda r: r.batch_size),
        *_mixed(results, "numbers of epochs", lambda r: r.epochs),
        *_marked(runs, runs[experiment.reference]),
    ]


def _not_there(runs: Sequence[Run]) -> list[str]:
    warnings = []
    failed = [run for run in runs if run.status == "failed"]
    if failed:
        names = few(f"{run.name} ({_why(run)})" for run in failed)
        warnings.append(f"{plural(len(failed), 'run')} of {len(runs)} failed: {names}")
    corrupt = [run for run in runs if run.status == "corrupt"]
    if corrupt:
        names = few((run.problem or run.directory for run in corrupt), 3)
        warnings.append(f"{plural(len(corrupt), 'result')} of {len(runs)} cannot be read: {names}")
    rest = [run for run in runs if run.status in ("interrupted", "running", "missing")]
    if rest:
        names = few(f"{run.name} ({run.status})" for run in rest)
        is_not = "is" if len(rest) == 1 else "are"
        warnings.append(f"{plural(len(rest), 'run')} of {len(runs)} {is_not} not finished: {names}")
    return warnings


def _why(run: Run) -> str:
    return (run.result.reason if run.result else None) or "failed"


def _unpaired(reference: str, pairs: Mapping[str, Pairs]) -> list[str]:
    return [
        f"NOT A FAIR PAIR: {label} and {reference} with {_seeds(seeds)}: {reason}; "
        "left out of differences, tests and ratios"
        for label, of_label in pairs.items()
        for reason, seeds in of_label.refused.items()
    ]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {few(sorted(seeds), 10)}"


def _mixed(results: Iterable[RunResult], what: str, get: Callable[[RunResult], object]) -> list[str]:
    counts: dict[object, int] = {}
    for result in results:
        value = get(result)
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    if len(counts) < 2:
        return []
    listing = few(f"{value} ({plural(count, 'run')})" for value, count in counts.items())
    return [f"results of different {what} are mixed: {listing}"]


def _marked(runs: Runs, references: Sequence[Run]) -> list[str]:
    labels: dict[str, list[str]] = {}
    for label, of_label in runs.items():
        mark = time_mark(of_label, references)
        if mark:
            labels.setdefault(mark, []).append(label)
    return [f"times marked * are not comparable: {few(of_mark)} ran {mark}" for mark, of_mark in labels.items()]


def notes_of(
    experiment: Experiment,
    rows: Sequence[Row],
    *,
    include_shared_times: bool,
    margin: float | None = None,
    interval: IntervalKind = "t",
) -> list[str]:
    """Return what a reader must know to read the numbers."""
    notes = []
    diverged = [run for run in experiment.runs if run.status == "diverged"]
    if diverged:
        notes.append(
            f"diverged: {few((f'{run.name} ({_when(run)})' for run in diverged), 8)}; "
            "scores are over the runs that finished, and a row with a diverged run is never called better"
        )
    if len({row.steps for row in rows if row.steps is not None}) > 1:
        listing = few((f"{row.label} {row.steps:.0f}" for row in rows if row.steps is not None), 12)
        notes.append(f"steps per run differ: {listing}")
    if any(row.n > 1 for row in rows):
        notes.append(f"intervals: 95 % {_intervals(rows, interval)}, for this test set; ratios on the log scale")
    flat = [row.label for row in rows if row.pairs > 1 and not row.is_reference and _without_width(row)]
    if flat:
        notes.append(
            f"intervals without width ({few(flat)}): all seeds gave one and the same difference, which says nothing "
            "of how others would spread"
        )
    if margin is not None:
        notes.append(
            f"equivalence: two one-sided t tests of a difference within ±{100 * margin:.3g} points at "
            f"{100 * SIGNIFICANCE:g} %, Holm over the rows"
        )
    results = list(_results(experiment.runs))
    if any(row.step_ms is not None for row in rows):
        timing = f"times: {few(dict.fromkeys(machine(result) for result in results))}"
        if experiment.workers is not None and experiment.workers > 1:
            timing += f"; {experiment.workers} runs at once, each on cores of its own unless marked *"
        notes.append(f"{timing}; expect other ratios on another machine")
    if any(result.time.shared for result in results) and not include_shared_times:
        notes.append("runs that shared cores or device do not count in time to target")
    return notes


def _without_width(row: Row) -> bool:
    low, high = row.difference_low, row.difference_high
    return low is not None and high is not None and high - low < 1e-9


def _intervals(rows: Sequence[Row], interval: IntervalKind) -> str:
    if interval == "t":
        return "Student-t over seeds"
    if max(row.n for row in rows) < BOOTSTRAP_FROM:
        return f"Student-t over seeds (a bootstrap takes {BOOTSTRAP_FROM} seeds)"
    return f"bootstrap (BCa) over seeds, Student-t where there are fewer than {BOOTSTRAP_FROM}"


def _when(run: Run) -> str:
    if run.result is None:
        return "diverged"
    words = {"nan": "loss not finite", "loss_bound": "loss above its bound"}
    return f"{words.get(run.result.reason or '', 'diverged')} at step {run.result.steps}"


def _results(runs: Iterable[Run]) -> Iterable[RunResult]:
    return (run.result for run in runs if run.result is not None)


def machine(result: RunResult) -> str:
    """Return where a run ran, in words: "NVIDIA A100, 1 thread"."""
    where = result.environment
    name = where.device_name or where.device or "unknown device"
    return f"{name}, {plural(where.threads, 'thread')}" if where.threads else name


def _place(result: RunResult) -> tuple[str | None, str | None, int | None]:
    where = result.environment
    return where.device, where.device_name, where.threads
