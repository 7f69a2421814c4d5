"""One deliberate mistake, as data: where it is made, and which tests must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class StaleMutantError(Exception):
    """The source text of a mutant does not occur as often as its row says: the code has moved on, and so must the row."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A textual change of one source file.

    Args:
        optimizer: The optimizer whose tests must notice, by its registry name.
        mistake: What is wrong, in words.
        file: The source file, relative to the repository's root.
        before: The exact source text.
        after: What stands there instead.
        tests: Test files, or single tests (`file::test`), one of which must fail.
        select: pytest's `-k`: only the tests of this optimizer, where a file serves several.
        count: How often `before` occurs; every occurrence is replaced.
    """

    optimizer: str
    mistake: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    select: str = ""
    count: int = 1

    @property
    def name(self) -> str:
        """What `--only` is compared with."""
        return f"{self.optimizer}: {self.mistake}"

    def applied_to(self, source: str) -> str:
        """Return the source with the mistake in it.

        Raises:
            StaleMutantError: `before` does not occur `count` times.
        """
        found = source.count(self.before)
        if found != self.count:
            raise StaleMutantError(
                f"{self.name}: expected {self.count} of {self.before!r} in {self.file}, found {found}"
            )
        return source.replace(self.before, self.after)
