"""Write the tables of a results page from run directories, between markers; what stands around them stays.

    python -m scripts.results_page runs/digits --output docs/results/digits.md

A page that is not there yet is begun, with `--title`. In a page that is there, the part between these lines is
replaced:

    <!-- results: digits -->
    <!-- end -->

`--name` says which part, so that a page can have several; the default is the page's own name. The tables are those of
`grng report --markdown`: over several models or data sets one of each and one over all, with the claims of the runs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from grng.errors import GrngError
from grng.report.records import Run
from grng.report.workloads import load_workloads
from grng.runs.files import atomic_write_text
from grng_cli.report import report

END = "<!-- end -->"


def mark(name: str) -> str:
    """Return the line that a part of a page begins with."""
    return f"<!-- results: {name} -->"


def section(directories: Sequence[Path], command: str) -> str:
    """Return the made part of a page: how it was made, from what, and the tables.

    Args:
        directories: Experiment or run directories, or folders of them.
        command: What was typed.

    Raises:
        GrngError: There are no runs.
    """
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        file = Path(place, "table.md")
        with contextlib.suppress(typer.Exit):
            report(list(directories), markdown=file, quiet=True)
        tables = file.read_text(encoding="utf-8").rstrip()
    runs = load_workloads(list(directories)).runs
    return f"Made by `{command}` from {_described(runs)}.\n\n{tables}\n"


def _described(runs: Sequence[Run]) -> str:
    """Return how many runs there are, and what they ran with."""
    environments = [run.result.environment for run in runs if run.result is not None]
    versions = dict.fromkeys(f"grng {one.grng}, torch {one.torch}" for one in environments)
    return "; ".join([f"{len(runs)} runs", *versions])


def replaced(page: str, name: str, text: str, *, where: str) -> str:
    """Return a page with another text in one of its parts.

    Args:
        page: The page as it is.
        name: Of the part.
        text: What it is to have.
        where: Of the page, for messages.

    Raises:
        GrngError: The page has no such part, or several.
    """
    part = re.compile(rf"({re.escape(mark(name))}\n).*?({re.escape(END)})", flags=re.DOTALL)
    found = part.findall(page)
    if len(found) != 1:
        hint = f"Put the lines {mark(name)} and {END} where the tables are to be, or choose another --name."
        raise GrngError(f"has {len(found)} parts called {name!r}, not one.", where=where, hint=hint)
    return part.sub(lambda match: match[1] + text + match[2], page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="experiments, runs, or folders of them"
    )
    parser.add_argument("--output", type=Path, required=True, help="the page")
    parser.add_argument("--name", help="which part of the page; default: the page's own name")
    parser.add_argument("--title", help="of a page that is not there yet; default: its name")
    given = parser.parse_args(arguments)
    name = given.name or given.output.stem
    typed = [
        *map(str, given.directories),
        "--output",
        str(given.output),
        *(["--name", given.name] if given.name else []),
    ]
    try:
        text = section(given.directories, f"python -m scripts.results_page {shlex.join(typed)}")
        if given.output.exists():
            page = replaced(given.output.read_text(encoding="utf-8"), name, text, where=str(given.output))
        else:
            page = f"# {given.title or name.capitalize()}\n\n{mark(name)}\n{text}{END}\n"
        atomic_write_text(given.output, page)
    except GrngError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"wrote {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
