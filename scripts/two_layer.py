"""How fast each optimizer brings the loss of the two-layer network to 0: a page and a figure from run directories.

    grng compare --config paper/two_layer --output runs/two-layer/m256
    python scripts/two_layer.py runs/two-layer/m256 --output docs/results/two-layer.md

Every run in and below the directories is read, `config.yaml` and `metrics.jsonl` alone. Runs that differ in learning
rate, damping and momentum alone (with momentum or without) are one row: the best of them is shown, which is the one
with the fewest steps to a millionth of the first loss (of equals, and where none gets there, the one with the lowest
last loss). What stands in FILE above the mark is kept. The figure, FILE with the suffix .svg, needs matplotlib: `pip
install 'grng[plots]'`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from grng.models.two_layer import DEFAULT_WIDTH  # noqa: E402
from grng.report.reading import CONFIG, METRICS, is_run_directory, read_mapping  # noqa: E402
from grng.statistics import GeometricRate, geometric_rate, steps_to  # noqa: E402

MARK = "<!-- what follows is made by scripts/two_layer.py -->"
SHARE = 1e-6
"""Loss by its first value at which steps are counted."""

LEGEND = f"""
    Loss: mean of ½‖z − y‖² over all training points, before each step. Rate: the factor q of the loss a step, by least
    squares of log L_t over the steps in which the loss falls and is above 1e-10 of the first one, below which float32
    has nothing more to say; ± is its standard error. Late: the same over the second half of that way, as logarithms go.
    Steps: until {SHARE:g} of the first loss. Tried: learning rates with dampings or momenta, and how many of them ended
    above the first loss. A star: the best is at the end of what was tried.
"""


@dataclass(frozen=True)
class Curve:
    """One run: the training loss before each step, and what it was trained with."""

    optimizer: str
    hyperparameters: Mapping[str, Any]
    width: int
    losses: tuple[float, ...]

    @property
    def row(self) -> tuple[str, float | None]:
        """What is compared: the optimizer, whether it has momentum, and ρ."""
        name = f"{self.optimizer} with momentum" if self.hyperparameters.get("momentum") else self.optimizer
        rho = self.hyperparameters.get("rho")
        return name, None if rho is None else float(rho)

    @property
    def tuned(self) -> dict[str, float]:
        """What is chosen among the runs of a row."""
        given = {key: self.hyperparameters.get(key) for key in ("lr", "damping", "momentum")}
        return {key: float(value) for key, value in given.items() if value}

    @property
    def diverged(self) -> bool:
        """Whether the loss has not fallen."""
        return not (math.isfinite(self.losses[-1]) and self.losses[-1] < self.losses[0])

    @property
    def order(self) -> tuple[float, float]:
        """A key that sorts the best first."""
        steps = None if self.diverged else steps_to(self.losses, SHARE)
        last = self.losses[-1] if math.isfinite(self.losses[-1]) else math.inf
        return math.inf if steps is None else steps, last


def read_curves(directories: Iterable[Path]) -> list[Curve]:
    """Return the runs in and below the directories, in the order of their paths."""
    found = []
    for directory in directories:
        for path in sorted(directory.rglob(CONFIG)):
            if is_run_directory(path.parent) and not any(part.startswith(".") for part in path.parts[-4:-1]):
                curve = _curve(path.parent)
                found += [curve] if curve is not None else []
    return found


def _curve(directory: Path) -> Curve | None:
    """Return the run in a directory; None where it has no losses or is of another model."""
    config = read_mapping(directory / CONFIG)
    if config.get("model", {}).get("name") != "two_layer" or not (directory / METRICS).is_file():
        return None
    lines = [json.loads(line) for line in (directory / METRICS).read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    losses = tuple(math.nan if line["train_loss"] is None else float(line["train_loss"]) for line in steps)
    if not losses or [line["step"] for line in steps] != list(range(1, len(steps) + 1)):
        return None  # a rate is by steps: all of them must be logged (logging.log_every: 1)
    optimizer = dict(config["optimizer"])
    width = config["model"].get("kwargs", {}).get("width", DEFAULT_WIDTH)
    return Curve(optimizer.pop("name"), optimizer, int(width), losses)


Rows = dict[tuple[int, str, float | None], list[Curve]]


def rows_of(curves: Iterable[Curve]) -> Rows:
    """Return the runs by width, optimizer and ρ, each list with the best first; widths in ascending order."""
    rows: Rows = {}
    for curve in curves:
        rows.setdefault((curve.width, *curve.row), []).append(curve)
    return {key: sorted(rows[key], key=lambda curve: curve.order) for key in sorted(rows, key=lambda key: key[0])}


def table(rows: Rows) -> list[str]:
    """Return the table of the best of every row."""
    lines = [
        "| width | optimizer | ρ | lr | λ | β | tried | rate a step | late | steps | last loss |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for (width, name, rho), curves in rows.items():
        best = curves[0]
        ends = {key: at_end(best, curves, key) for key in best.tuned}
        chosen = [
            f"{best.tuned[key]:g}{'*' if ends[key] else ''}" if key in best.tuned else "–"
            for key in ("lr", "damping", "momentum")
        ]
        diverged = sum(curve.diverged for curve in curves)
        tried = f"{len(curves)} ({diverged} up)" if diverged else f"{len(curves)}"
        steps = None if best.diverged else steps_to(best.losses, SHARE)
        cells = [
            f"{width}",
            name,
            "–" if rho is None else f"{rho:g}",
            *chosen,
            tried,
            _rate(None if best.diverged else geometric_rate(best.losses)),
            _rate(None if best.diverged else geometric_rate(best.losses, late=True)),
            f"> {len(best.losses) - 1}" if steps is None else f"{steps}",
            f"{best.losses[-1]:.1e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def at_end(best: Curve, curves: Sequence[Curve], key: str) -> bool:
    """Return whether the best value of `key` is the smallest or largest of several that were tried."""
    values = sorted({curve.tuned[key] for curve in curves})
    return len(values) > 1 and best.tuned[key] in (values[0], values[-1])


def everything(rows: Rows) -> list[str]:
    """Return the table of all that was tried: for each damping or momentum the steps of each learning rate."""
    lines = ["| width | optimizer | ρ | λ or β | lr: steps |", "|--:|---|--:|--:|---|"]
    for (width, name, rho), curves in rows.items():
        others: dict[tuple[float, ...], list[Curve]] = {}
        for curve in sorted(curves, key=lambda curve: curve.tuned["lr"]):
            others.setdefault(tuple(v for key, v in curve.tuned.items() if key != "lr"), []).append(curve)
        for other in sorted(others):
            cells = [f"{curve.tuned['lr']:g}: {_steps(curve)}" for curve in others[other]]
            shown = ["–" if rho is None else f"{rho:g}", ", ".join(f"{value:g}" for value in other) or "–"]
            lines.append(f"| {width} | {name} | {' | '.join(shown)} | {'; '.join(cells)} |")
    return lines


def _steps(curve: Curve) -> str:
    if curve.diverged:
        return "up"
    steps = steps_to(curve.losses, SHARE)
    return f"to {curve.losses[-1] / curve.losses[0]:.0e}" if steps is None else f"{steps}"


def _rate(rate: GeometricRate | None) -> str:
    return "–" if rate is None else f"{rate.factor:.3f} ± {rate.error:.3f}"


def draw(rows: Rows, path: Path) -> None:
    """Draw the best run of every row: the loss against steps, one picture a width."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    widths = sorted({width for width, _, _ in rows})
    names = list(dict.fromkeys(name for _, name, _ in rows))
    # the same file every time
    with mpl.rc_context({"svg.hashsalt": "two-layer", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.2 * len(widths), 4.6), layout="constrained")
        axes = figure.subplots(1, len(widths), squeeze=False, sharey=True)[0]
        for axis, width in zip(axes, widths, strict=True):
            for (of, name, rho), curves in rows.items():
                if of != width or curves[0].diverged:
                    continue
                strengths = sorted(r for w, n, r in rows if (w, n) == (of, name) and r is not None)
                style = ("-", "--", "-.", ":")[strengths.index(rho) % 4 if rho is not None else 0]
                label = name if rho is None else f"{name}, ρ={rho:g}"
                color = f"C{names.index(name) % 10}"
                shown = [loss / curves[0].losses[0] for loss in curves[0].losses]
                axis.semilogy(range(len(shown)), shown, linestyle=style, color=color, label=label, linewidth=1.2)
            axis.set(title=f"width {width}", xlabel="steps", ylim=(1e-12, 3))
        axes[0].set_ylabel("training loss by the first one")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, 2 * len(widths)))
        figure.savefig(path, format="svg", metadata={"Date": None})


def page(rows: Rows, figure: str) -> str:
    """Return what stands below the mark."""
    lines = ["", f"![Training loss against steps]({figure})", "", *table(rows), ""]
    lines.append(textwrap.fill(" ".join(LEGEND.split()), width=150))
    lines += ["", "## All that was tried", "", "Steps as above; *up*: the loss ended above the first one.", ""]
    return "\n".join([*lines, *everything(rows), ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the runs, write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path)
    parser.add_argument("--output", metavar="FILE", type=Path, required=True)
    given = parser.parse_args(arguments)
    rows = rows_of(read_curves(given.directories))
    if not rows:
        parser.error("there is no run of two_layer with every step logged in these directories")
    figure = given.output.with_suffix(".svg")
    head = given.output.read_text(encoding="utf-8").partition(MARK)[0] if given.output.exists() else "# Two layers\n\n"
    draw(rows, figure)
    given.output.write_text(f"{head}{MARK}\n{page(rows, figure.name)}", encoding="utf-8")


if __name__ == "__main__":
    main()
