r"""Rules that rename the entries of a file of weights: `old=new`.

`old` is what a name begins with, `backbone.=` drops it; with `re:` in front it is a regular expression that is replaced
wherever it occurs, `re:^layers\.(\d+)=blocks.\1`. Rules apply one after the other, each to what those before have left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from grng.errors import GrngError, suggest

WHERE = "model.weights_map"
_REGEX = "re:"
_FORM = "Write old=new: old is what names begin with, or re:PATTERN."

Value = TypeVar("Value")


def check_rules(rules: Iterable[str]) -> None:
    """Raise a `GrngError` unless every rule has the form `old=new`, with an expression that compiles."""
    for rule in rules:
        old, equals, new = rule.rpartition("=")
        if not equals or not old or old == _REGEX:
            raise GrngError(f"{rule!r} is no rule.", where=WHERE, hint=_FORM)
        if not old.startswith(_REGEX):
            continue
        try:
            # With the empty alternative it matches anything: the replacement is checked without a name to match.
            re.compile(f"{old.removeprefix(_REGEX)}|").sub(new, "")
        except (re.error, IndexError) as error:
            raise GrngError(f"{rule!r} is no regular expression with its replacement: {error}.", where=WHERE) from error


def rename(state: dict[str, Value], rules: Sequence[str]) -> dict[str, Value]:
    """Return `state` with its names changed by `rules`.

    Raises:
        GrngError: If a rule is malformed, changes no name, or makes two names the same.
    """
    check_rules(rules)
    names = {name: name for name in state}
    for rule in rules:
        old, _, new = rule.rpartition("=")
        changed = {name: _applied(now, old, new) for name, now in names.items()}
        if changed == names:
            known = sorted({now.partition(".")[0] for now in names.values()})
            hint = suggest(old.partition(".")[0], known, otherwise=f"Its names begin with {', '.join(known[:8])}.")
            raise GrngError(f"the rule {rule!r} changes none of the names in the file.", where=WHERE, hint=hint)
        names = changed
    renamed: dict[str, Value] = {}
    for name, now in names.items():
        if now in renamed:
            raise GrngError(f"two entries of the file get the name {now!r}.", where=WHERE)
        renamed[now] = state[name]
    return renamed


def _applied(name: str, old: str, new: str) -> str:
    if old.startswith(_REGEX):
        return re.sub(old.removeprefix(_REGEX), new, name)
    return new + name.removeprefix(old) if name.startswith(old) else name
