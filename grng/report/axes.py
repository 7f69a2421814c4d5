"""The axis of a map: a hyperparameter's values, or its range cut into parts on its own scale."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["log", "linear"]


@dataclass(frozen=True, slots=True)
class Axis:
    """A numeric hyperparameter.

    Args:
        name: Its name.
        low: The smallest value.
        high: The largest.
        scale: On which its range is cut.
        values: The values one by one, ascending, where they are few; empty: a range.
        whole: Whether it takes whole numbers alone.
    """

    name: str
    low: float
    high: float
    scale: Scale = "linear"
    values: tuple[float, ...] = ()
    whole: bool = False

    @classmethod
    def of(cls, name: str, document: Mapping[str, Any]) -> Axis:
        """Return the axis that `document` returned."""
        low, high = float(document["low"]), float(document["high"])
        values = tuple(map(float, document["values"]))
        return cls(name, low, high, document["scale"], values, bool(document["whole"]))

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "low": self.low,
            "high": self.high,
            "scale": self.scale,
            "values": list(self.values),
            "whole": self.whole,
        }

    def cells(self, bins: int) -> int:
        """Return how many cells it has, where ranges have `bins`."""
        return len(self.values) or bins

    def place(self, value: float, cells: int) -> int:
        """Return the cell of a value, counted from 0."""
        if self.values:
            return self.values.index(value)
        inner = self._edges(cells)[1:-1]
        return bisect.bisect_right(inner, value)

    def labels(self, cells: int) -> list[str]:
        """Return the value of each cell, or the part of the range that it is: `0.001–0.0032`."""
        if self.values:
            return [f"{value:g}" for value in self.values]
        parts = itertools.pairwise(self._edges(cells))
        if self.whole:
            ends = [(math.ceil(begin), math.ceil(end) - 1) for begin, end in parts]
            return [f"{first}" if first == last else f"{first}–{last}" for first, last in ends]
        return [f"{begin:.2g}–{end:.2g}" for begin, end in parts]

    def _edges(self, cells: int) -> list[float]:
        """Return where the cells of a range begin, and where the last one ends; every whole number has its share."""
        half = 0.5 if self.whole else 0.0
        ends = self.low - half, self.high + half
        if self.scale == "linear":
            return [ends[0] + (ends[1] - ends[0]) * place / cells for place in range(cells + 1)]
        return [ends[0] * (ends[1] / ends[0]) ** (place / cells) for place in range(cells + 1)]
