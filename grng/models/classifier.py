"""Where a timm model's classifier is: what is new where the classes are others, and what a linear probe trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def classifier_modules(model: Any) -> tuple[str, ...]:
    """Return the names of the classifier's modules: those that timm records, else what `get_classifier` returns."""
    recorded = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    names = (recorded,) if isinstance(recorded, str) else tuple(recorded)
    modules = dict(model.named_modules())
    found = tuple(name for name in names if name in modules)
    if found or not hasattr(model, "get_classifier"):
        return found
    heads = model.get_classifier()
    heads = heads if isinstance(heads, (tuple, list)) else (heads,)
    return tuple(name for name, module in modules.items() if name and any(module is head for head in heads))


def belongs(name: str, modules: Iterable[str]) -> bool:
    """Return whether the parameter, buffer or module `name` is one of `modules` or lies in one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
