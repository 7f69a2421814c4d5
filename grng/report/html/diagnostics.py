"""What optimizers say of their steps: damping, gradient norm, cosine, residuals, as small figures."""

from __future__ import annotations

from dataclasses import replace

from grng.diagnostics.names import DIAGNOSTICS
from grng.report.checks import few
from grng.report.html.blocks import Block, Prose
from grng.report.html.curve_figures import curve_figure
from grng.report.html.curves import Logs, RowCurves, curves_of

TITLES = {
    "optimizer/damping": "damping λ",
    "optimizer/gradient_norm": "gradient norm",
    "optimizer/cosine_gradient": "cos(step, −gradient)",
    "optimizer/newton_residual": "Newton residual",
    "optimizer/covariance_trace": "trace of P",
    "optimizer/cosine_last_step": "cos(step, last step)",
    "optimizer/step_weight_ratio": "‖step‖ / ‖weights‖",
    "optimizer/newton_iterations": "Newton iterations",
    "optimizer/innovation": "innovation",
    "optimizer/damping_min": "smallest damping of a layer",
    "optimizer/damping_max": "largest damping of a layer",
    "optimizer/clipped_share": "share of clipped entries",
    "optimizer/skipped_steps": "skipped steps",
}
"""Names of what is logged, those first that are shown open."""
OPEN = 5
"""How many of `TITLES` are shown open."""

_ERRORS = {info.error: info.title for info in DIAGNOSTICS.values() if info.error is not None}
"""How exact a diagnostic is, by name, with the title of the diagnostic."""
_POINTS = 100
_LONGEST_AXIS = 30
"""Characters that have room beside a small figure's axis; a longer title stands above alone."""
_WIDE = 100.0
_MOST = 24
"""Figures at most, so that an optimizer that logs hundreds of values does not fill the page."""


def diagnostics_blocks(logs: Logs) -> list[Block]:
    """Return the figures of everything that was logged of the steps, and what never differed from zero."""
    known = list(TITLES)
    names = [name for name in logs.names if name.startswith(("optimizer/", "diagnostics/"))]
    names.sort(key=lambda name: known.index(name) if name in known else len(known))
    blocks: list[Block] = []
    still: list[str] = []
    left_out: list[str] = []
    measured = [name for name in names if name.startswith("diagnostics/")]
    for name in names:
        rows = curves_of(logs, name, points=_POINTS)
        if _all_zero(rows):
            still.append(_title(name))
            continue
        if len(blocks) >= _MOST:
            left_out.append(_title(name))
            continue
        folded = name not in known[:OPEN] and (name not in measured or _key(name) in _ERRORS)
        blocks.append(_figure(name, rows, logs.by_steps, folded=folded))
    blocks.sort(key=lambda block: getattr(block, "folded", False))
    if still:
        blocks.append(Prose((f"zero throughout: {', '.join(still)}",), "note"))
    if left_out:
        blocks.append(Prose((f"left out, to keep the page small: {few(left_out, 12)}",), "note"))
    return blocks


def _figure(name: str, rows: list[RowCurves], by_steps: bool, *, folded: bool) -> Block:
    title = _title(name)
    axis = title if len(title) <= _LONGEST_AXIS else ""
    figure = curve_figure(title, rows, axis, by_steps=by_steps, text="", small=True)
    return replace(figure, folded=folded, logy=_wide(rows))


def _wide(rows: list[RowCurves]) -> bool:
    """Return whether values are positive and so far apart that only a logarithmic axis shows them all."""
    means = [row.mean.values for row in rows if row.mean is not None]
    low, high = min((v.min() for v in means), default=0.0), max((v.max() for v in means), default=0.0)
    return bool(low > 0 and high > _WIDE * low)


def _key(name: str) -> str:
    return name.partition("/")[2]


def _title(name: str) -> str:
    section, _, key = name.partition("/")
    if key in _ERRORS:
        return f"{_ERRORS[key]}: error of the estimate"
    if section == "diagnostics":
        known = next((info.title for info in DIAGNOSTICS.values() if info.name == key), key.replace("_", " "))
        return f"{known}, of the sample"
    return TITLES.get(name, key.replace("_", " "))


def _all_zero(rows: list[RowCurves]) -> bool:
    lines = [line for row in rows for line in (row.mean, *row.others.values()) if line is not None]
    return all(float(abs(line.values).max()) == 0.0 for line in lines if len(line.values))
