"""What loading weights came to, for people and for `result.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from grng.models.pretrained import Gaps

_SHOWN = 4


@dataclass(frozen=True)
class LoadedWeights:
    """Which entries of a model's `state_dict` are loaded ones.

    Args:
        source: The file, or the name of the pretrained weights.
        sha256: Of the file; None for pretrained ones.
        entry: Under which key of the file they were, `model`; None: it holds nothing else.
        loaded: Number of entries loaded, adapted ones included.
        total: Number of entries of the model.
        adapted: Loaded with other shapes than in the source, `NAME: FROM and TO`: input convolution, embeddings.
        replaced: In the source with a shape that does not fit; they keep their fresh values: the classifier.
        missing: Not in the source; they keep their fresh values.
        unexpected: In the source, not in the model.
    """

    source: str
    sha256: str | None
    entry: str | None
    loaded: int
    total: int
    adapted: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it in words, one line a kind, long lists shortened."""
        within = f" (its {self.entry!r})" if self.entry else ""
        said = [f"weights: {self.loaded} of {self.total} entries from {self.source}{within}"]
        for what, names in (
            ("adapted", self.adapted),
            ("new, of another shape", self.replaced),
            ("new, missing in the source", self.missing),
            ("left over in the source", self.unexpected),
        ):
            if names:
                said.append(f"  {what}: {listed(names)}")
        return said


def listed(names: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def pretrained_report(model: Any, name: str, gaps: Gaps, *, channels: int, num_classes: int) -> LoadedWeights:
    """Return what timm has loaded into a pretrained model: all but what its configuration says it adapts or leaves new.

    Args:
        model: timm's model.
        name: Its name with the tag.
        gaps: What timm said while it loaded.
        channels: Channels of the images.
        num_classes: Number of classes.
    """
    from grng.models.classifier import belongs, classifier_modules

    recorded = model.pretrained_cfg
    entries = list(model.state_dict())
    new: list[str] = []
    if recorded.get("num_classes") != num_classes:
        head = classifier_modules(model)
        new = [entry for entry in entries if belongs(entry, head)]
    missing = [entry for entry in gaps.missing if entry not in new]
    before = (recorded.get("input_size") or (3,))[0]
    first = recorded.get("first_conv") or ()
    stems = (first,) if isinstance(first, str) else tuple(first)
    change = f"from {before} to {channels} channels"
    adapted = [f"{stem}.weight: {change}" for stem in stems if before != channels and f"{stem}.weight" in entries]
    return LoadedWeights(
        source=recorded.get("hf_hub_id") or recorded.get("url") or name,
        sha256=None,
        entry=None,
        loaded=len(entries) - len(new) - len(missing),
        total=len(entries),
        adapted=adapted,
        replaced=[f"{entry}: {recorded.get('num_classes')} classes there, {num_classes} here" for entry in new],
        missing=missing,
        unexpected=gaps.unexpected,
    )
