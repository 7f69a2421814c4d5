r"""A table as LaTeX, for papers: `booktabs` rules, intervals beside the numbers, one `table` for each group of columns.

What is needed in the preamble is `\usepackage{booktabs}`, and an engine that reads UTF-8, as all of today do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from grng.report.columns import Column, display_columns
from grng.report.sentences import sentences
from grng.report.tables import Table

_GROUPS = (
    ("accuracy", "Test accuracy"),
    ("loss", "Losses and target"),
    ("target", "Target"),
    ("cost", "Cost"),
    ("asked", "More"),
)
_JOINED = {"target": "loss"}
"""Groups that are shown with another one."""

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "−": r"$-$",
    "–": "--",
    "…": r"\dots{}",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "τ": r"$\tau$",
    "γ": r"$\gamma$",
    "β": r"$\beta$",
    "∇": r"$\nabla$",
    "²": r"$^2$",
    "‖": r"$\|$",
}
_MINUS = re.compile(r"(?<![\w.])-(?=[\d∞])")


def latex_text(text: str) -> str:
    """Return `text` as LaTeX shows it literally; what a font of LaTeX has no sign for is a command."""
    kept = _one_line(text)
    # A hyphen before a number is a minus, which is as wide as the plus above or below it.
    kept = _MINUS.sub("−", kept)
    return "".join(_ESCAPED.get(character, character) for character in kept)


def _one_line(text: str) -> str:
    """Return `text` without what would end a comment's line, or is not to be seen."""
    return "".join(character if character.isprintable() else " " for character in text)


def to_latex(table: Table, *, name: str | None = None) -> str:
    r"""Return a table as LaTeX.

    Args:
        table: What was measured.
        name: Of the workload, in captions and labels; None: its model and data set.
    """
    what = name if name not in (None, "any") else f"{table.model or 'no result'} on {table.dataset or 'any data'}"
    columns = display_columns(table)
    parts = [f"% {_one_line(line)}" for line in (*sentences(table), *table.warnings, *table.notes)]
    for group, title in _GROUPS:
        chosen = [one for one in columns if one.group is not None and _JOINED.get(one.group, one.group) == group]
        if chosen:
            named = [one for one in columns if one.group is None]
            parts.append(_table([*named, *chosen], f"{title}: {what}", _label(what, group)))
    return "\n".join(parts) + "\n"


def _table(columns: Sequence[Column], caption: str, label: str) -> str:
    alignment = "".join("l" if column.justify == "left" else "r" for column in columns)
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex_text(caption)}}}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        f"    {_row([column.title for column in columns])}",
        r"    \midrule",
        *(f"    {_row(cells)}" for cells in zip(*(column.cells for column in columns), strict=True)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    escaped = " & ".join(map(latex_text, cells))
    # A bracket at the beginning of a row would be an argument of the line's end before it.
    return f"{'{}' if escaped.startswith(('[', '*')) else ''}{escaped} \\\\"


def _label(what: str, group: str) -> str:
    return f"tab:{re.sub(r'[^A-Za-z0-9]+', '-', what).strip('-').lower()}-{group}"
