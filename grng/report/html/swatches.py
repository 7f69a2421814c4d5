"""The samples of lines in legends: colour, dash and marker as the figures have them."""

from __future__ import annotations

from markupsafe import Markup

from grng.report.html.plotting import DASHES, MARKERS, PALETTE, PATTERNS

_ARRAYS = {
    "solid": "none",
    "dash": "7 4",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "11 4",
    "longdashdot": "11 3 2 3",
}
_SHAPES = {
    "circle": "M14 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "square": "M14 2h8v8h-8Z",
    "diamond": "M18 1l5 5-5 5-5-5Z",
    "triangle-up": "M18 1l5 9h-10Z",
    "triangle-down": "M18 11l5-9h-10Z",
    "cross": "M16.5 1h3v3.500h3.500v3h-3.500v3.500h-3v-3.500h-3.500v-3h3.500Z",
    "x": "M14 1l4 3.5 4-3.5 1.5 1.5-3.5 3.5 3.5 3.5-1.5 1.5-4-3.5-4 3.5-1.5-1.5 3.5-3.5-3.5-3.5Z",
    "star": "M18 0l1.600 4h4.200l-3.400 2.600 1.300 4.200-3.700-2.600-3.700 2.600 1.300-4.200-3.400-2.600h4.200Z",
}


_STROKES = {
    "": "",
    "/": "M4 12l10-12M14 12l10-12M24 12l10-12",
    "\\": "M4 0l10 12M14 0l10 12M24 0l10 12",
    "x": "M4 12l10-12M14 12l10-12M24 12l10-12M4 0l10 12M14 0l10 12M24 0l10 12",
    ".": "M6 6h2M14 6h2M22 6h2M30 6h2",
}


def swatch(style: int, *, bar: bool = False) -> Markup:
    """Return the sample of the row `style` as SVG.

    Args:
        style: Index of colour, dash and marker, or pattern.
        bar: Whether it stands for bars.
    """
    if bar:
        strokes = _STROKES[PATTERNS[style % len(PATTERNS)]]
        return Markup(
            f'<svg class="swatch s{style % len(PALETTE)}" viewBox="0 0 36 12" aria-hidden="true">'
            f'<path d="M0 0h36v12h-36Z" stroke="none"/><path class="strokes" d="{strokes}"/></svg>'
        )
    shift = style + style // len(PALETTE)
    dash, shape = _ARRAYS[DASHES[shift % len(DASHES)]], _SHAPES[MARKERS[shift % len(MARKERS)]]
    return Markup(
        f'<svg class="swatch s{style % len(PALETTE)}" viewBox="0 0 36 12" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="36" y2="6" stroke-dasharray="{dash}"/><path d="{shape}" stroke="none"/></svg>'
    )
