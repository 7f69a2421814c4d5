"""Which parameter is preconditioned how, and why not by Kronecker factors: nothing is skipped silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

_WORDS = {"kronecker": "Kronecker", "filter": "in layer filters"}


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """One parameter: its name, number of entries, the rule that steps it, and why that is not the layers' own rule.

    For a layer's own rule `reason` says where its factors are cut into blocks.
    """

    parameter: str
    layer: str
    numel: int
    rule: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How an optimizer treats every parameter that it holds.

    Attributes:
        rows: One a parameter.
        layer_rule: The rule that layers have of their own: `kronecker`, or `filter` (R-Kalman).
    """

    rows: tuple[CoverageRow, ...]
    layer_rule: str = "kronecker"

    def parameters(self, rule: str) -> int:
        """Return the number of parameter entries under `rule`."""
        return sum(row.numel for row in self.rows if row.rule == rule)

    def summary(self) -> str:
        """Return e.g. "12 of 26 layers, 99.4 % of parameters Kronecker; adamw: 13 × BatchNorm2d (normalisation), …"."""
        layers = {row.layer for row in self.rows}
        own = {row.layer for row in self.rows if row.rule == self.layer_rule}
        total = sum(row.numel for row in self.rows)
        share = 100.0 * self.parameters(self.layer_rule) / total if total else 0.0
        text = f"{len(own)} of {len(layers)} layers, {share:.1f} % of parameters {_WORDS[self.layer_rule]}"
        cut = {row.layer for row in self.rows if row.rule == self.layer_rule and row.reason}
        if cut:
            text += f" ({len(cut)} with factors in blocks)"
        others = sorted({row.rule for row in self.rows} - {self.layer_rule})
        for rule in others:
            seen: dict[str, set[str]] = {}
            for row in self.rows:
                if row.rule == rule:
                    seen.setdefault(row.reason, set()).add(row.layer)
            counts = Counter({reason: len(names) for reason, names in seen.items()})
            text += f"; {rule}: " + ", ".join(f"{count} × {reason}" for reason, count in counts.most_common())
        return text

    def as_dicts(self) -> list[dict[str, object]]:
        """Return the rows as plain dictionaries, for result.json."""
        return [asdict(row) for row in self.rows]
