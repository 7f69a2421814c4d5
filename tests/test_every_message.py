"""Every message that a user can be given is in a test: the tests are searched for the words of each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from grng import errors

ROOT = Path(__file__).parents[1]
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.GrngError)}
KINDS |= {"Interrupted", "RunFailed", "ProcessLost"}
WORDS = 3
"""So many words in a row must be in a test; of a shorter text all."""


def messages() -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each error that is made, and the fixed parts of its message."""
    for path in sorted([*(ROOT / "grng").rglob("*.py"), *(ROOT / "grng_cli").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and called(node.func) in KINDS:
                parts = [part for part in fixed(node.args[0]) if len(part.strip()) > 3]
                if parts:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", parts


def called(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def fixed(node: ast.expr) -> list[str]:
    """Return the literal parts of a message."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [str(part.value) for part in node.values if isinstance(part, ast.Constant)]
    if isinstance(node, ast.BinOp):
        return fixed(node.left) + fixed(node.right)
    if isinstance(node, ast.IfExp):
        return fixed(node.body) + fixed(node.orelse)
    return []


def runs(part: str) -> Iterator[str]:
    words = part.split()
    count = min(WORDS, len(words))
    for begin in range(len(words) - count + 1):
        yield " ".join(words[begin : begin + count]).rstrip(".,;:")


def test_every_message_is_in_a_test() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    tests = re.sub(r"\s+", " ", " ".join(texts))
    found = dict(messages())
    assert len(found) > 250
    untested = {
        place: parts for place, parts in found.items() if not any(run in tests for p in parts for run in runs(p))
    }
    assert untested == {}
