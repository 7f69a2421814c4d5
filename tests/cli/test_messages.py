from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from grng.errors import ConfigError, GrngError, UnknownNameError
from grng_cli.guard import Guarded
from grng_cli.messages import Message, exit_code, messages_of
from grng_cli.wording import command, fraction, scalar, seconds, size


def said(error: BaseException) -> list[str]:
    return [message.render().plain for message in messages_of(error)]


def test_a_users_error_is_told_with_place_and_hint() -> None:
    error = GrngError("must be at least 1, not 0.", where="--epochs", hint="Give more.")
    assert said(error) == ["error: --epochs: must be at least 1, not 0.\n hint: Give more."]
    assert exit_code(error) == 2


def test_several_problems_are_told_one_by_one() -> None:
    error = ConfigError([GrngError("one", where="a"), GrngError("two")])
    assert said(error) == ["error: a: one", "error: two"]
    assert exit_code(error) == 2


@pytest.mark.parametrize(
    ("message", "following"),
    [
        ("unknown optimizer 'rign'.", "grng optimizers list"),
        ("timm has no model 'x'.", "grng models list"),
        ("there is no data set 'x'.", "grng datasets list"),
        ("there is no such file or shipped config.", "grng config list"),
    ],
)
def test_an_unknown_name_is_followed_by_the_command_that_lists_them(message: str, following: str) -> None:
    assert said(UnknownNameError(message)) == [f"error: {message}\n next: {following}"]


def test_a_full_disk_and_missing_rights() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/x")
    assert said(full) == ["error: /x: no space left on the device\n hint: Free some space or choose another --output."]
    assert exit_code(full) == 2
    assert said(PermissionError(errno.EACCES, "Permission denied", "/x"))[0].startswith("error: /x: permission denied")


def test_a_fault_is_one_line_and_how_to_see_more() -> None:
    hint = " hint: This is a fault of grng; set GRNG_DEBUG=1 and run the same line to see where."
    assert said(ValueError("odd")) == [f"error: unexpected ValueError: odd\n{hint}"]
    assert exit_code(ValueError("odd")) == 1
    assert exit_code(KeyboardInterrupt()) == 130


def test_brackets_in_messages_are_not_markup() -> None:
    text = Message("[red]ring[rho=0.1][/red] is there twice").render()
    assert isinstance(text, Text)
    assert text.plain == "error: [red]ring[rho=0.1][/red] is there twice"


def test_in_a_terminal_lines_end_between_words_and_what_is_to_be_typed_is_whole() -> None:
    hint = "The rows are " + ", ".join(["adamw", "ring[rho=0.1]"] * 8) + "."
    following = "grng report runs/a-directory --reference adamw --markdown a-file-with-a-long-name.md --quiet"
    text = Message("there is no row 'x'.", "--reference", hint, following).render(80)
    first, *hints, last = text.plain.split("\n")
    assert first == "error: --reference: there is no row 'x'."
    assert " ".join(line.strip() for line in hints) == f"hint: {hint}"
    assert max(map(len, hints)) <= 80
    assert {line[:7] for line in hints[1:]} == {" " * 7}
    assert last == f" next: {following}"
    assert {(text.plain[span.start : span.end], str(span.style)) for span in text.spans} >= {
        ("error: ", "red bold"),
        ("--reference: ", "cyan"),
        (" hint: ", "cyan"),
    }


def test_a_path_without_spaces_is_not_broken() -> None:
    path = "/a/directory" * 9
    assert Message("does not exist.", path).render(80).plain == f"error: {path}: does not exist."


FAULTY = """
import sys
import typer
from grng_cli.guard import Guarded
app = typer.Typer(cls=Guarded, pretty_exceptions_enable=False)
@app.callback()
def main() -> None: ...
@app.command()
def fail() -> None:
    raise ZeroDivisionError("by zero")
app()
"""


def run_faulty(debug: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FAULTY, "fail"]
    return subprocess.run(command, capture_output=True, text=True, env={"GRNG_DEBUG": debug}, check=False)


def test_tracebacks_are_for_those_who_ask() -> None:
    silent, loud = run_faulty("0"), run_faulty("1")
    assert (silent.returncode, silent.stdout) == (1, "")
    assert silent.stderr.startswith("error: unexpected ZeroDivisionError: by zero\n")
    assert "Traceback" not in silent.stderr
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr


def test_ctrl_c_in_any_command_is_130() -> None:
    app = typer.Typer(cls=Guarded)

    @app.callback()
    def main() -> None: ...

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    ran = CliRunner().invoke(app, ["wait"])
    assert (ran.exit_code, ran.stderr) == (130, "error: interrupted\n")


def test_numbers_for_people(tmp_path: Path) -> None:
    assert [seconds(value) for value in (None, 0.123, 9.96, 12.4, 119.6, 200.0, 7500.0)] == [
        "-",
        "0.12 s",
        "10 s",
        "12 s",
        "120 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert [size(value) for value in (None, 12, 1234, 3.2e9, 5e15)] == ["-", "12 B", "1.23 kB", "3.2 GB", "5e+03 TB"]
    assert (fraction(0.97449), fraction(None), scalar(0.123456), scalar(None)) == ("0.974", "-", "0.1235", "-")
    assert command("grng", "x", "a b", Path("c[1]")) == "grng x 'a b' 'c[1]'"
