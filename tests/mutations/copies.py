"""Running tests on a changed copy of the repository, in a process of its own.

The processes are forks of a server that has imported torch and what else is slow to import, but nothing of ours: that
leaves a second or two for each mutant.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutations.mutant import ROOT

COPIED = ("grng", "grng_cli", "tests", "configs", "pyproject.toml")
OURS = ("grng", "grng_cli", "tests")
SLOW_IMPORTS = ["torch", "torch.func", "timm", "curvlinops"]
LONGEST = 600.0  # seconds that a mutant's tests may take: one that hangs is noticed, too
OUTPUT = "output of the tests.txt"
NOT_THE_COPY = 100  # exit code
FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run of tests ended: the first test that failed, if one did, or why there is no answer."""

    failed: str = ""
    trouble: str = ""


@contextlib.contextmanager
def copy_of_the_repository() -> Iterator[Path]:
    """Copy what the tests need to a temporary directory, which goes at the end."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory).resolve()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        yield copy


def start_server() -> None:
    """Start the server of forks; to be called once, before `run_tests` is called from any thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.set_forkserver_preload(SLOW_IMPORTS)


def run_tests(copy: Path, tests: Sequence[str], select: str = "") -> Verdict:
    """Run the tests on the copy until one fails.

    Args:
        copy: A directory of `copy_of_the_repository`.
        tests: Files, or `file::test`.
        select: pytest's `-k`.
    """
    options = [
        "-x",
        "-q",
        "-p",
        "pytest_timeout",
        "-p",
        "no:cacheprovider",
        "-rfE",
        *(["-k", select] if select else []),
    ]
    process = multiprocessing.get_context("forkserver").Process(target=_pytest, args=(str(copy), [*options, *tests]))
    process.start()
    process.join(LONGEST)
    if process.exitcode is None:
        process.terminate()
        process.join()
        return Verdict(failed=f"no end after {LONGEST:g} s")
    output = (copy / OUTPUT).read_text()
    found = FAILURE.search(output)
    if process.exitcode == pytest.ExitCode.OK:
        return Verdict()
    if process.exitcode == pytest.ExitCode.TESTS_FAILED and found is not None:
        return Verdict(failed=found[1])
    return Verdict(trouble=f"pytest ended with {process.exitcode}: {output.strip()[-300:]}")


def _pytest(directory: str, arguments: list[str]) -> None:
    """Run pytest in this process, on the package in `directory`, its output into a file there."""
    os.chdir(directory)
    with Path(OUTPUT).open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    # plugins that the server has imported already (timm pulls one in) could not be loaded as plugins any more
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.path.insert(0, directory)
    code = int(pytest.main(arguments))
    strangers = [name for name in OURS if name in sys.modules and not _lies_in(sys.modules[name].__file__, directory)]
    sys.exit(NOT_THE_COPY if strangers else code)


def _lies_in(file: str | None, directory: str) -> bool:
    return file is not None and Path(file).is_relative_to(directory)
