"""Text of others made harmless to print: names of files, keys and classes may hold what a terminal obeys."""

from __future__ import annotations

import unicodedata

# Control characters; marks that turn or hide text; half characters, as undecodable file names have; line separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str, *, lines: bool = True) -> str:
    r"""Return `text` with what is not to be seen written out: `\x1b`, `\u202e`, `\udcff`.

    Args:
        text: Anything.
        lines: Whether line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character, lines=lines) for character in text)


def _shown(character: str, *, lines: bool) -> str:
    if unicodedata.category(character) not in _ESCAPED or (lines and character == "\n"):
        return character
    return character.encode("unicode_escape").decode("ascii")
