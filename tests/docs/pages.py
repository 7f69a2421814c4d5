"""The pages of the documentation as blocks: what a test is to do with each of them.

A block is fenced or indented. Its kind follows from its language, or, where it is indented, from its first line:
commands of a shell, options of `grng train`, Python, YAML, or something to look at (equations, trees, output).
Comments before a block say how a test runs it:

    <!-- test: skip, REASON -->                      its commands are parsed, but not run
    <!-- test: skip "A", REASON -->                  the same for its lines with A; repeatable
    <!-- test: replace "A" with "B" -->              repeatable
    <!-- test: with photos -->                       is made before the block runs, unless it is there; likewise
    <!-- test: with a comparison runs/digits -->     a run, a comparison, a sweep
    <!-- test: in full -->                           commands are not shortened
    <!-- test page: skip, REASON -->                 the same for all blocks of a page
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PROGRAMS = ("grng", "python", "python3", "pip", "torchrun", "tensorboard", "mkdocs")
"""What a line of commands begins with; any may have a path before it."""

LANGUAGES = {"bash": "commands", "python": "python", "yaml": "yaml", "text": "display", "json": "display"}

_FENCE = re.compile(r"^(`{3,})([\w-]*)\s*$")
_ITEM = re.compile(r"^ {0,3}([-*+]|\d+\.) ")
_COMMENT = re.compile(r"^<!-- test( page)?: (.*?) -->$")
_SKIP_LINE = re.compile(r'^skip "(.+?)", .{10,}$')
_REPLACE = re.compile(r'^replace "(.+?)" with "(.*?)"$')
_PROGRAM = re.compile(rf"^(for .*|(\w+=\S+ )*([\w./]*/)?({'|'.join(PROGRAMS)})( |$))")


@dataclass(frozen=True)
class Directive:
    """How a test runs a block.

    Args:
        skipped: Why its commands are not run; "" where they are.
        left_out: Texts of single lines that are not run.
        replaced: Pairs of texts.
        needs: What must be there.
        in_full: Whether commands are run without being shortened.
    """

    skipped: str = ""
    left_out: tuple[str, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    in_full: bool = False

    def applied(self, text: str) -> str:
        """Return what is run in place of a block's text."""
        for part in self.left_out:
            assert part in text, f"{part!r} is to be left out, but is not there"
        text = "".join(f"{line}\n" for line in text.splitlines() if not any(part in line for part in self.left_out))
        for old, new in self.replaced:
            assert old in text, f"{old!r} is to be replaced, but is not there"
            text = text.replace(old, new)
        return text


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Args:
        page: The file.
        line: Number of its first line.
        kind: commands, options, python, yaml or display.
        text: What is in it, without indentation.
        directive: How a test runs it.
    """

    page: Path
    line: int
    kind: str
    text: str
    directive: Directive

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def all_pages() -> list[Path]:
    """Return every page: those at the top and all below docs/."""
    top = [page for page in sorted(ROOT.glob("*.md")) if page.stem != "CHANGELOG"]  # which tells of what was
    return [*top, *sorted(DOCS.rglob("*.md"))]


def is_walkthrough(page: Path) -> bool:
    """Return whether commands and Python of a page belong together: the tutorial, and how to do things."""
    return page == DOCS / "tutorial.md" or page.parent == DOCS / "how-to"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    of_page = [match[2] for line in lines if (match := _COMMENT.match(line)) and match[1]]
    directives: list[str] = []
    in_list = False
    number = 0
    while number < len(lines):
        line, first = lines[number], number + 1
        comment, fence = _COMMENT.match(line), _FENCE.match(line)
        blank_before = number == 0 or not lines[number - 1].strip() or bool(_COMMENT.match(lines[number - 1]))
        if comment:
            directives += [] if comment[1] else [comment[2]]
        elif fence:
            end = next(index for index in range(number + 1, len(lines)) if lines[index].startswith(fence[1]))
            assert fence[2] in LANGUAGES, f"{page.name}:{first}: no language, or one that is not known: {fence[2]!r}"
            text = "\n".join(lines[number + 1 : end]) + "\n"
            yield Block(page, first, LANGUAGES[fence[2]], text, _directive([*of_page, *directives]))
            directives, number = [], end
        elif line.startswith("    ") and blank_before and not in_list:
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = "\n".join(part[4:] for part in lines[number:end]).rstrip() + "\n"
            yield Block(page, first, _indented_kind(text), text, _directive([*of_page, *directives]))
            directives, number = [], end - 1
        elif line.strip():
            assert not directives, f"{page.name}:{first}: a comment for a test that no block follows"
            in_list = bool(_ITEM.match(line)) or (in_list and not (blank_before and not line.startswith(" ")))
        number += 1


def _indented_kind(text: str) -> str:
    if _PROGRAM.match(text):
        return "commands"
    return "options" if text.startswith("--") else "display"


def looks_like_command(line: str) -> bool:
    """Return whether a line begins with a program that the documentation's commands begin with."""
    return bool(_PROGRAM.match(line))


def _directive(texts: list[str]) -> Directive:
    skipped, left_out, needs, replaced, in_full = "", [], [], [], False
    for text in texts:
        replacing, leaving = _REPLACE.match(text), _SKIP_LINE.match(text)
        if leaving:
            left_out.append(leaving[1])
        elif replacing:
            replaced.append((replacing[1], replacing[2]))
        elif text.startswith("skip, "):
            skipped = text.removeprefix("skip, ")
        elif text.startswith("with "):
            needs.append(text.removeprefix("with "))
        elif text == "in full":
            in_full = True
        else:
            raise AssertionError(f"not known: <!-- test: {text} -->")
    return Directive(skipped, tuple(left_out), tuple(replaced), tuple(needs), in_full)
