"""From options to a config: which flag sets which key, and where the shipped configs are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    from grng.runs.loading import Loaded

    T = TypeVar("T", bound=BaseModel)


def shipped_configs() -> list[str]:
    """Return the names of the configs that come with grng."""
    from grng.runs.shipped import list_configs

    return list_configs()


def load(
    kind: type[T],
    flags: Iterable[tuple[str, Any, str]],
    *,
    configs: Sequence[str] | None,
    smoke: str | None,
    sets: Sequence[str] | None,
    opts: Sequence[str] | None = None,
) -> Loaded[T]:
    """Load a config from files and flags.

    Args:
        kind: Its schema.
        flags: (key, value, flag); None: the flag was not given.
        configs: Files, or names of shipped ones, weakest first.
        smoke: Name of the shipped config that makes it short; stronger than `configs`.
        sets: `--set` options.
        opts: `--opt` options.

    Raises:
        ConfigError: With every problem found.
    """
    from grng.runs.loading import load_config
    from grng.runs.shipped import find_config

    names = [*(configs or ()), *([smoke] if smoke else ())]
    files: list[Path] = [find_config(name) for name in names]
    return load_config(kind, files=files, overrides=list(flags), sets=sets or (), opts=opts or ())
