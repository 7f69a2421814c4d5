"""The mutation check: do the tests notice when an optimizer is wrong?

    python -m tests.mutations                     all of them, a few seconds each
    python -m tests.mutations --only ring:        those with "ring:" in their name (optimizer: mistake)
    python -m tests.mutations --jobs 4            so many at a time

For every row of the table (`tests/mutations/table.py`) the repository's code and tests are copied to a temporary
directory, one source text is replaced there by a wrong one, and the row's tests run on the copy; the repository itself
is not touched. The result is a table in Markdown on the standard output: what was wrong, and the first test that
failed. The exit code is 1 where a mutant survives, where its text is no longer in the source, where pytest could not
run, or where the tests of the chosen rows fail on the unmutated copy already.

To add one: a row in the file of its optimizer. A mutant that survives is a test that is missing (or a change that
changes nothing: then the row goes).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mutations.copies import Verdict, copy_of_the_repository, run_tests, start_server
from tests.mutations.mutant import Mutant, StaleMutantError
from tests.mutations.table import MUTANTS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check and print the table; 0 where every mutant was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Do the tests notice mistakes?")
    parser.add_argument("--only", metavar="TEXT", default="", help="only mutants whose 'optimizer: mistake' holds TEXT")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="mutants at a time")
    given = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name]
    if not chosen:
        parser.error(f"no mutant holds {given.only!r}")
    start_server()
    with copy_of_the_repository() as copy:
        unmutated = run_tests(copy, sorted({test for mutant in chosen for test in mutant.tests}))
    if unmutated != Verdict():
        print(f"The unmutated copy does not pass: {unmutated.failed or unmutated.trouble}")
        return 1
    with ThreadPoolExecutor(given.jobs) as pool:
        verdicts = list(pool.map(checked, chosen))
    print(table(chosen, verdicts))
    noticed = sum(bool(verdict.failed) for verdict in verdicts)
    print(f"\n{noticed} of {len(chosen)} mutants were noticed.")
    return 0 if noticed == len(chosen) else 1


def checked(mutant: Mutant) -> Verdict:
    """Make one mistake in a copy and run its tests there."""
    with copy_of_the_repository() as copy:
        file = copy / mutant.file
        try:
            file.write_text(mutant.applied_to(file.read_text()))
        except StaleMutantError as error:
            verdict = Verdict(trouble=str(error))
        else:
            verdict = run_tests(copy, mutant.tests, mutant.select)
    print(f"{mutant.name}: {verdict.failed or verdict.trouble or 'SURVIVED'}", file=sys.stderr, flush=True)
    return verdict


def table(mutants: Sequence[Mutant], verdicts: Sequence[Verdict]) -> str:
    """Return the Markdown table."""
    rows = ["| optimizer | mistake | noticed by |", "|---|---|---|"]
    for mutant, verdict in zip(mutants, verdicts, strict=True):
        answer = f"`{verdict.failed.removeprefix('tests/')}`" if verdict.failed else verdict.trouble or "**SURVIVED**"
        cells = [mutant.optimizer, mutant.mistake, answer]
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
