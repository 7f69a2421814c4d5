"""What `grng train` ends with: a small table and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from grng.diagnostics.names import DIAGNOSTICS
from grng_cli.output import Output
from grng_cli.wording import command, fraction, outcome, scalar, seconds, size

if TYPE_CHECKING:
    from grng.runs.result import RunResult


def show(result: RunResult, directory: Path, printer: Output, *, reused: bool) -> None:
    """Print `result`: with `--json` result.json itself, else a table and the next commands."""
    if reused:
        printer.chatter(f"reused: this run has ended before, {directory} holds it (do it again with --rerun)")
    if printer.json_only:
        printer.document(result.model_dump(mode="json"))
        return
    if printer.quiet:
        printer.sentence(f"{result.label}, seed {result.seed}: {outcome(result)}")
        return
    printer.essential(_table(result))
    printer.data(
        f"results:      {directory}\n"
        f"TensorBoard:  {command('tensorboard', '--logdir', directory)}\n"
        f"compare:      {_compare(result)}"
    )


def _compare(result: RunResult) -> str:
    others = ("adamw", "ring") if result.optimizer == "adamw" else ("adamw", result.optimizer)
    given = ["--optimizers", ",".join(others), "--model", result.model, "--dataset", result.dataset]
    if result.data.data_dir:
        given += ["--data-dir", result.data.data_dir]
    if result.weights is not None:
        given += ["--weights", result.weights.source] if result.weights.sha256 else ["--pretrained"]
    return command("grng", "compare", *given)


def _table(result: RunResult) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", show_header=False)
    table.title = Text(f"{result.label} on {result.dataset}, {result.model}, seed {result.seed}")
    table.add_column("")
    table.add_column("")
    for name, value in _rows(result):
        table.add_row(Text(name), Text(value))
    return table


def _rows(result: RunResult) -> list[tuple[str, str]]:
    final, time, target = result.final, result.time, result.target
    rows = [("status", result.status if result.status == "finished" else outcome(result))]
    rows += [
        ("test accuracy", fraction(final.test_accuracy)),
        ("test loss", scalar(final.test_loss)),
        ("val. accuracy", f"{fraction(final.val_accuracy)} (best {fraction(result.best.val_accuracy)})"),
        ("train loss", scalar(final.train_loss)),
        ("steps", f"{result.steps} of {result.planned_steps}"),
        ("target", _target(target.accuracy, target.step, target.time_s)),
        ("step", f"{scalar(time.step_ms)} ms"),
        ("training", seconds(time.train_s)),
        ("memory", f"{scalar(result.memory.growth_mb)} MB growth, {size(result.memory.optimizer_state_bytes)} state"),
    ]
    for name, info in DIAGNOSTICS.items():
        value = getattr(result.diagnostics, name)
        error = getattr(result.diagnostics, info.error) if info.error else None
        if value is not None:
            rows.append((info.title, scalar(value) if error is None else f"{scalar(value)} ± {scalar(error)}"))
    return rows


def _target(accuracy: float | None, step: int | None, elapsed: float | None) -> str:
    if accuracy is None:
        return "-"
    if step is None:
        return f"{accuracy:g} val. accuracy: not reached"
    return f"{accuracy:g} val. accuracy: step {step}, {seconds(elapsed)}"
