from __future__ import annotations

import io
import json
import sys

import pytest

from grng_cli.output import Output, make_console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def say_everything(output: Output) -> None:
    output.essential("essential [x]")
    output.data("data")
    output.chatter("chatter")
    output.warning("warned")


def test_data_and_chatter_go_their_ways(capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(Output())
    assert list(capsys.readouterr()) == ["essential [x]\ndata\n", "chatter\nwarning: warned\n"]


def test_quiet_keeps_the_essential(capsys: pytest.CaptureFixture[str]) -> None:
    say_everything(Output(quiet=True))
    assert list(capsys.readouterr()) == ["essential [x]\n", "warning: warned\n"]


def test_json_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json_only=True)
    say_everything(output)
    value = {"label": "ring[rho=0.1]", "text": "ä" * 500, "none": None}
    output.document(value)
    out, err = capsys.readouterr()
    assert json.loads(out) == value
    assert err == "chatter\nwarning: warned\n"


def test_a_number_that_json_lacks_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Output(json_only=True).document({"loss": float("nan")})


def test_the_lines_of_a_sentence_end_between_words_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "21 of 21 runs to do; estimate: 4 min 10 s, 900 MB of disk. Nothing was written."
    Output(quiet=True).sentence(said)
    Output(quiet=True).prose(said)
    assert capsys.readouterr().out == f"{said}\n"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    Output(quiet=True).sentence(said)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(line.strip() for line in lines) == said


def test_long_lines_are_not_broken_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    Output().essential("word " * 500)
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(("no_color", "escapes"), [("", True), ("1", False)])
def test_a_terminal_is_coloured_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, no_color: str, escapes: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    make_console(stream).print("[bold red]x[/]")
    assert ("\x1b" in stream.getvalue()) is escapes


def test_progress_is_live_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not Output().live
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert Output().live
    assert not Output(quiet=True).live
    assert not Output(json_only=True).live
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Output().live, "what moves takes escape codes"
