"""Where the values of a config come from, and how a stronger source overrides a weaker one.

Mappings are merged key by key, everything else is replaced. Two rules keep the result sensible: another `name`
replaces the whole of a section (hyperparameters belong to the optimizer that they were written for), and one of several
keys that exclude each other (`epochs`, `steps`) replaces the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from grng.errors import GrngError
from grng.runs.schema import NamedSection, Section
from grng.runs.yaml_text import Key, parse_value, read_document


class Override(NamedTuple):
    """A value given by a flag.

    Args:
        path: The key, `training.epochs`.
        value: The value; None: the flag was not given.
        flag: The flag, `--epochs`, for messages.
    """

    path: str
    value: Any
    flag: str


class Place(NamedTuple):
    """Where a value was given.

    Args:
        origin: `file.yaml:3` or `--opt rho`.
        in_file: Whether the key is worth telling besides.
    """

    origin: str
    in_file: bool


@dataclass
class Source:
    """Values with their places.

    Args:
        values: Nested mappings.
        places: Where the value at a key was given; keys below are in the same place unless listed.
        problems: What could not be taken.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, Place] = field(default_factory=dict)
    problems: list[GrngError] = field(default_factory=list)

    def locate(self, key: Key) -> str:
        """Return where the value at `key` was given: `file.yaml:3 (optimizer.rho)`, `--opt rho`, or the key itself."""
        name, found = dotted(key), self._nearest(key)
        if found is None:
            return name
        place = self.places[found]
        return f"{place.origin} ({name})" if place.in_file else place.origin

    def rank(self, key: Key) -> int:
        """Return a number that sorts keys as they were given, keys that nobody gave last."""
        found = self._nearest(key)
        return len(self.places) if found is None else list(self.places).index(found)

    def _nearest(self, key: Key) -> Key | None:
        """Return the place of `key`, of what it lies in, or of something in it (`--set training.typo=1`)."""
        above = (key[:length] for length in range(len(key), 0, -1) if key[:length] in self.places)
        below = (other for other in self.places if other[: len(key)] == key)
        return next(above, next(below, None))

    def put(self, key: Key, value: Any, flag: str) -> None:
        """Set the value at `key`, given by `flag`; a problem if this source has one there, above or below already."""
        overlapping = [other for other in self.places if key[: len(other)] == other or other[: len(key)] == key]
        if key in overlapping:
            self.problems.append(GrngError("is given twice.", where=flag))
            return
        # `--optimizer ring --opt rho=1`: the flag gives optimizer.name, so that options beside it fit.
        if overlapping:
            other = self.places[overlapping[0]].origin
            self.problems.append(GrngError(f"sets a part of what {other} sets.", where=flag))
            return
        values = self.values
        for name in key[:-1]:
            values = values.setdefault(str(name), {})
        values[str(key[-1])] = value
        self.places[key] = Place(flag, in_file=False)


def dotted(key: Key) -> str:
    """Return a key as a user writes it: `optimizers[1].rho`."""
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in key)
    return text.removeprefix(".")


def from_file(path: Path) -> Source:
    """Read a YAML file.

    Raises:
        ConfigError: See `grng.runs.yaml_text.read_document`.
    """
    document = read_document(path)
    return Source(document.values, {key: Place(f"{path}:{line}", in_file=True) for key, line in document.lines.items()})


def from_flags(overrides: Iterable[tuple[str, Any, str]], opts: Sequence[str]) -> Source:
    """Return what flags and `--opt name=value` give."""
    source = Source()
    for path, value, flag in overrides:
        if value is not None:
            source.put(tuple(path.split(".")), value, flag)
    for text in opts:
        pair = _split(text, "--opt", source.problems)
        if pair and pair[0] == "name":
            hint = "Give --optimizer NAME."
            source.problems.append(GrngError("is no hyperparameter.", where="--opt name", hint=hint))
        elif pair:
            source.put(("optimizer", pair[0]), pair[1], f"--opt {pair[0]}")
    return source


def from_sets(sets: Sequence[str]) -> Source:
    """Return what `--set a.b=value` gives."""
    source = Source()
    for text in sets:
        pair = _split(text, "--set", source.problems)
        if pair:
            source.put(tuple(pair[0].split(".")), pair[1], f"--set {pair[0]}")
    return source


def merge(weak: Source, strong: Source, kind: type[BaseModel]) -> Source:
    """Return the values of both sources, those of `strong` where they disagree."""
    merged = Source(dict(weak.values), dict(weak.places), [*weak.problems, *strong.problems])
    _merge(merged, strong, merged.values, strong.values, (), kind)
    return merged


def _merge(
    merged: Source, strong: Source, base: dict[str, Any], update: dict[str, Any], key: Key, kind: type[BaseModel] | None
) -> None:
    for name, given in update.items():
        here = (*key, name)
        section = _section_type(kind, name)
        if given is None and section:
            continue  # a section whose keys are all commented out
        value = given
        if section and issubclass(section, Section) and section.shorthand:
            value = value if isinstance(value, dict) else {section.shorthand: value}
        if section and issubclass(section, NamedSection):
            value = _with_name(value)
            base[name] = _with_name(base.get(name))
            if _name(value) and _name(base[name]) and _name(value) != _name(base[name]):
                base[name] = None
        if value is not None:
            for other in _excluded(kind, name) - update.keys():
                _remove(merged, base, (*key, other))
        below = base.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            base[name] = dict(below)
            if here in strong.places:
                merged.places[here] = strong.places[here]
            _merge(merged, strong, base[name], value, here, section)
        else:
            _remove(merged, base, here)
            base[name] = value
            merged.places.update({place: at for place, at in strong.places.items() if place[: len(here)] == here})


def _with_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _name(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else None


def _excluded(kind: type[BaseModel] | None, name: str) -> set[str]:
    if kind is None or not issubclass(kind, Section):
        return set()
    return {other for group in kind.alternatives if name in group for other in group if other != name}


def _section_type(kind: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    annotation = kind.model_fields[name].annotation if kind and name in kind.model_fields else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _remove(merged: Source, values: dict[str, Any], key: Key) -> None:
    values.pop(str(key[-1]), None)
    for place in [place for place in merged.places if place[: len(key)] == key]:
        del merged.places[place]


def _split(text: str, flag: str, problems: list[GrngError]) -> tuple[str, Any] | None:
    """Return the name and value in `NAME=VALUE`, or None with what is wrong added to `problems`."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name or not all(name.split(".")):
        problems.append(GrngError("must have the form NAME=VALUE.", where=f"{flag} {text}"))
        return None
    if not value.strip():
        problems.append(GrngError("has no value.", where=f"{flag} {name}", hint=f"Write {name}=null for none."))
        return None
    try:
        return name, parse_value(value)
    except GrngError as error:
        problems.append(GrngError(error.message, where=f"{flag} {name}"))
        return None
