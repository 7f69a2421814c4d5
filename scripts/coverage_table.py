"""Write the table of what Kronecker factors cover in timm's architectures.

Layers and parameters are counted on the model at its real size, which is made on the meta device. Whether a layer's
module is called at all is seen only in a step, and so is whether the operators have a double backward: both are asked
of the shrunk model of the list (one step each), whose modules have the same names.

    python scripts/coverage_table.py --output docs/results/coverage.md
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from grng import __version__  # noqa: E402
from grng.curvature.coverage import Coverage, CoverageRow  # noqa: E402
from grng.errors import GrngError  # noqa: E402
from grng.optim.controls import GRSGD  # noqa: E402
from grng.optim.kfac import KFAC  # noqa: E402
from tests.optim.architectures import ARCHITECTURES, BATCH, NUM_CLASSES, Architecture  # noqa: E402

COMMAND = "python scripts/coverage_table.py --output docs/results/coverage.md"
SHOWN_REASONS = 4

LEGEND = """
    Layers are modules with parameters of their own; layers and parameters are those of the model at its real
    size, with timm's own number of classes; factors wider than `max_factor_size` count as well: they are cut
    into diagonal blocks. The rest is stepped by `other_parameters` (a diagonal Fisher, or AdamW); each part of
    it stands with its share of the parameters. A bare type has no Kronecker rule (norms, scales; a whole model
    or block stands for its tables and tokens). "Transforms its weight" is a subclass that standardises or
    otherwise changes the weight before it is used. "Not called" is a layer whose weight is used without calling
    its module, which the first step finds out. Double backprop: whether every operator of the model has a
    double backward; where one has not, `hvp=finite_difference` serves (for `sophia-h`: `sophia-g`).
"""
TESTED = """
    Three steps of every optimizer on each of them, at reduced size, are a test:
    `pytest -m slow tests/optim/test_architectures.py`."""

SHORT = (
    (r" \(no Kronecker rule\)$", ""),
    (r" \(a subclass whose weight may be transformed\)$", " (transforms its weight)"),
    (r" with a factor that cannot be cut into equal blocks up to max_factor_size=\d+$", " not cut into equal blocks"),
    (r" whose weight is used without calling the module$", " not called"),
    (r" whose input is changed in place after it$", " with its input changed in place"),
    (r" on which the observed outputs do not depend$", " unknown to the outputs"),
)


@dataclass(frozen=True, slots=True)
class Covered:
    """One line of the table, counted on the model at its real size.

    Attributes:
        name: timm's.
        layers: All modules with parameters of their own.
        own: Those of them with Kronecker factors.
        parameters: All parameter entries.
        kronecker: Those of them with Kronecker factors.
        rest: For every reason, in its short form, how many layers and parameter entries it takes away; largest first.
        double_backprop: Whether all operators of the model have a double backward.
    """

    name: str
    layers: int
    own: int
    parameters: int
    kronecker: int
    rest: tuple[tuple[str, int, int], ...]
    double_backprop: bool


def cover(architecture: Architecture) -> Covered:
    """Count one architecture."""
    coverage = _with_moved(KFAC(architecture.create_full()).coverage(), moved_in_a_step(architecture))
    rows = coverage.rows
    return Covered(
        name=architecture.name,
        layers=len({row.layer for row in rows}),
        own=len({row.layer for row in rows if row.rule == "kronecker"}),
        parameters=sum(row.numel for row in rows),
        kronecker=coverage.parameters("kronecker"),
        rest=_reasons(row for row in rows if row.rule != "kronecker"),
        double_backprop=has_double_backward(architecture),
    )


def moved_in_a_step(architecture: Architecture) -> dict[str, str]:
    """Take one observed step of the shrunk model; return the parameters that it took from the layers' rule, and why.

    Blocks differ in nothing but their number, so numbers in the names are dropped.
    """
    model = architecture.create()
    optimizer = KFAC(model, lr=0.0)
    before = {row.parameter for row in optimizer.coverage().rows if row.rule == "kronecker"}
    images, labels = _batch(architecture)
    outputs = model(images)
    optimizer.observe(outputs, labels)
    F.cross_entropy(outputs, labels).backward()
    optimizer.step()
    after = optimizer.coverage().rows
    return {_pattern(row.parameter): row.reason for row in after if row.rule != "kronecker" and row.parameter in before}


def has_double_backward(architecture: Architecture) -> bool:
    """Whether a Hessian-vector product of the shrunk model can be had by double backprop."""
    model = architecture.create()
    optimizer = GRSGD(model, lr=0.0)
    images, labels = _batch(architecture)
    F.cross_entropy(model(images), labels).backward(create_graph=True)
    try:
        optimizer.step()
    except GrngError as error:
        if "no double backward" not in error.message:
            raise
        return False
    finally:
        model.zero_grad()
    return True


def _batch(architecture: Architecture) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, architecture.size, architecture.size, generator=generator)
    return images, torch.randint(0, NUM_CLASSES, (BATCH,), generator=generator)


def _pattern(parameter: str) -> str:
    return re.sub(r"\d+", "#", parameter)


def _with_moved(coverage: Coverage, moved: dict[str, str]) -> Coverage:
    def corrected(row: CoverageRow) -> CoverageRow:
        reason = moved.get(_pattern(row.parameter))
        return row if reason is None or row.rule != "kronecker" else replace(row, rule="diagonal", reason=reason)

    return Coverage(tuple(corrected(row) for row in coverage.rows))


def _reasons(rows: Iterable[CoverageRow]) -> tuple[tuple[str, int, int], ...]:
    layers: dict[str, set[str]] = {}
    entries: dict[str, int] = {}
    for row in rows:
        reason = row.reason
        for long, short in SHORT:
            reason = re.sub(long, short, reason)
        layers.setdefault(reason, set()).add(row.layer)
        entries[reason] = entries.get(reason, 0) + row.numel
    found = [(reason, len(names), entries[reason]) for reason, names in layers.items()]
    return tuple(sorted(found, key=lambda entry: -entry[2]))


def line(covered: Covered) -> str:
    """Return a row of the markdown table."""
    shown = [
        f"{count} × {reason} ({_percent(entries, covered.parameters)})"
        for reason, count, entries in covered.rest[:SHOWN_REASONS]
    ]
    further = sum(count for _, count, _ in covered.rest[SHOWN_REASONS:])
    cells = (
        covered.name,
        f"{covered.parameters / 1e6:.2f}",
        f"{covered.own} / {covered.layers}",
        _percent(covered.kronecker, covered.parameters),
        "; ".join(shown + ([f"{further} others"] if further else [])),
        "yes" if covered.double_backprop else "no",
    )
    return f"| {' | '.join(cells)} |"


def _percent(part: int, whole: int) -> str:
    share = 100.0 * part / whole
    return f"{share:.1f} %" if share >= 0.1 or part == 0 else "< 0.1 %"


def table(rows: Sequence[Covered]) -> str:
    """Return the whole page."""
    shares = [row.kronecker / row.parameters for row in rows]
    many = sum(share >= 0.9 for share in shares)
    without = ", ".join(row.name for row in rows if not row.double_backprop)
    counts = f"""{len(rows)} architectures. {many} have at least 90 % of their parameters under Kronecker factors, the
        median {100 * statistics.median(shares):.1f} %, the least {100 * min(shares):.1f} %."""
    made = f"Made by `{COMMAND}`; torch {torch.__version__}, timm {timm.__version__}, grng {__version__}."
    paragraphs = (made, LEGEND, counts, f"Without a double backward: {without or 'none'}.", TESTED)
    text = "# What has Kronecker factors in timm's architectures\n\n"
    text += (
        "\n\n".join(textwrap.fill(" ".join(paragraph.split()), 118, break_on_hyphens=False) for paragraph in paragraphs)
        + "\n"
    )
    columns = (
        "architecture",
        "parameters (10⁶)",
        "layers: Kronecker / all",
        "parameters: Kronecker",
        "the rest, by reason",
        "double backprop",
    )
    head = f"{text}\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "\n".join(line(row) for row in rows) + "\n"


def main() -> None:
    """Read the arguments, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=None, help="the page to write; default: print it")
    parser.add_argument("--only", nargs="*", default=(), help="parts of names of architectures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    chosen = [one for one in ARCHITECTURES if not given.only or any(part in one.name for part in given.only)]
    rows = []
    for one in chosen:
        rows.append(cover(one))
        print(line(rows[-1]), file=sys.stderr, flush=True)
    page = table(rows)
    if given.output is None:
        print(page)
    else:
        given.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
