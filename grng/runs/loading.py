"""From files, flags and `--set` to a checked config, with every problem in one message and its file and line.

Nothing here loads torch: a wrong key is a message within a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from grng.errors import ConfigError, GrngError
from grng.runs import messages
from grng.runs.config import RunConfig
from grng.runs.sources import Override, Source, from_file, from_flags, from_sets, merge
from grng.runs.yaml_text import Key, dump

__all__ = ["Loaded", "Override", "dump_yaml", "json_schema", "load_config", "load_file"]

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A checked config that still knows where each of its values was given.

    Args:
        config: The config.
        source: The merged values and their places.
    """

    config: T
    source: Source

    def locate(self, key: Key) -> str:
        """Return where the value at `key` was given: `file.yaml:3 (optimizer.rho)`, `--opt rho`, or the key itself."""
        return self.source.locate(key)


def load_config(
    kind: type[T],
    *,
    files: Sequence[Path] = (),
    overrides: Iterable[tuple[str, Any, str]] = (),
    sets: Sequence[str] = (),
    opts: Sequence[str] = (),
    adjust: Callable[[Source], None] | None = None,
) -> Loaded[T]:
    """Merge the sources, weakest first: defaults, files in order, flags, `--set`; then check the result.

    Args:
        kind: The schema: `RunConfig`, or another model of sections.
        files: YAML files.
        overrides: (key, value, flag), e.g. `("training.epochs", 5, "--epochs")`; a value None was not given. A name
            goes by its full key, `("optimizer.name", "ring", "--optimizer")`, so that `opts` fit beside it.
        sets: `--set` options, `training.epochs=5`.
        opts: `--opt` options, `rho=0.1` for `optimizer.rho`.
        adjust: Rearranges the merged values before they are checked.

    Raises:
        ConfigError: With every problem found.
    """
    source = Source()
    unread: list[GrngError] = []
    for path in files:
        try:
            source = merge(source, from_file(path), kind)
        except ConfigError as error:
            unread.extend(error.problems)
    source = merge(source, from_flags(overrides, opts), kind)
    source = merge(source, from_sets(sets), kind)
    if adjust is not None:
        adjust(source)
    problems = [*unread, *source.problems]
    try:
        config = kind.model_validate(source.values)
    except ValidationError as error:
        # What is missing may be in the file that could not be read, or in the option that could not be taken.
        details = [detail for detail in error.errors() if not (problems and detail["type"] == "missing")]
        details.sort(key=lambda detail: source.rank(tuple(detail["loc"])))
        problems += [messages.problem(detail, kind, source.locate) for detail in details]
    if problems:
        raise ConfigError(problems)
    return Loaded(config, source)


def load_file(path: Path) -> RunConfig:
    """Read the config of a run from one file, as `dump_yaml` writes it.

    Raises:
        ConfigError: With every problem found.
    """
    return load_config(RunConfig, files=[path]).config


def dump_yaml(config: BaseModel) -> str:
    """Return YAML text that loads back as an equal config."""
    return dump(config.model_dump(mode="json"))


def json_schema(kind: type[BaseModel] = RunConfig) -> dict[str, Any]:
    """Return the JSON Schema of the config files, for editors that complete and check them."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.model_json_schema()}
