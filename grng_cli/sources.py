"""From options to a config: which flag sets which key, and where the shipped configs are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from grng.errors import GrngError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from grng.runs.loading import Loaded
    from grng.runs.sources import Source

    T = TypeVar("T", bound=BaseModel)


def shipped_configs() -> list[str]:
    """Return the names of the configs that come with grng."""
    from grng.runs.shipped import list_configs

    return list_configs()


_OF_A_RUN = re.compile(r"(model|dataset|optimizer|training|augment|logging|diagnostics|machine)(\.[a-z_]+)+")


@contextmanager
def located(loaded: Loaded[Any]) -> Iterator[None]:
    """Tell errors raised in the block about a key of the config, `training.batch_size`, where it was given."""
    try:
        yield
    except GrngError as error:
        if error.where is None or not _OF_A_RUN.fullmatch(error.where):
            raise
        where = loaded.locate(tuple(error.where.split(".")))
        raise type(error)(error.message, where=where, hint=error.hint) from error


def load(
    kind: type[T],
    flags: Iterable[tuple[str, Any, str]],
    *,
    configs: Sequence[str] | None,
    smoke: str | None,
    sets: Sequence[str] | None,
    opts: Sequence[str] | None = None,
    adjust: Callable[[Source], None] | None = None,
) -> Loaded[T]:
    """Load a config from files and flags.

    Args:
        kind: Its schema.
        flags: (key, value, flag); None: the flag was not given.
        configs: Files, or names of shipped ones, weakest first.
        smoke: Name of the shipped config that makes it short; stronger than `configs`.
        sets: `--set` options.
        opts: `--opt` options.
        adjust: Rearranges the merged values before they are checked.

    Raises:
        ConfigError: With every problem found.
    """
    from grng.runs.loading import load_config
    from grng.runs.shipped import find_config

    names = [*(configs or ()), *([smoke] if smoke else ())]
    files: list[Path] = [find_config(name) for name in names]
    return load_config(kind, files=files, overrides=list(flags), sets=sets or (), opts=opts or (), adjust=adjust)
