"""The trainer asks for needs, never for names: no optimizer's name or class occurs in its code."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import grng.training
from grng.optimizers import list_optimizers


def code_and_strings(path: Path) -> set[str]:
    """Return the words of a file's names and strings; comments and docstrings are prose and may say what they like."""
    words: set[str] = set()
    fresh = True  # at the start of a statement, where a string is a docstring
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.COMMENT):
            fresh = True
            continue
        if token.type == tokenize.NAME or (token.type == tokenize.STRING and not fresh):
            words |= set(re.findall(r"[a-z0-9][a-z0-9_-]*", token.string.casefold()))
        fresh = False
    return words


def test_no_optimizer_is_named_in_the_trainer() -> None:
    names = {info.name.casefold() for info in list_optimizers()}
    names |= {info.optimizer_class().__name__.casefold() for info in list_optimizers()}
    assert {"sgd", "ring", "kfac"} <= names
    found = {
        (path.name, word)
        for path in Path(grng.training.__file__).parent.rglob("*.py")
        for word in code_and_strings(path) & names
        # The rule of a parameter in result.json's `parameters` (kronecker, diagonal, adamw) is no optimizer.
        if (path.name, word) != ("session.py", "adamw")
    }
    assert found == set()


def test_the_search_finds_a_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text('"""Not sgd here."""\n\nif name == "sgd":  # nor adamw\n    use(RING, x="reng")\n')
    assert {"sgd", "ring", "reng"} <= code_and_strings(path)
    assert "adamw" not in code_and_strings(path)
