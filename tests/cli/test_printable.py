"""What a file, a key or an option holds reaches the terminal as text, whatever it holds."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grng.errors import RunDirectoryError
from grng.runs.identity import directory_name
from grng.runs.result import RunResult
from grng_cli.messages import Message
from grng_cli.output import Output
from grng_cli.printable import printable
from grng_cli.wording import outcome
from tests.cli.conftest import Call, snapshot
from tests.report.factory import make_result as result

RED, TURNED, HALF = "\x1b[31m", "\u202e", "\udcff"
EVIL = f"a{RED}{TURNED}{HALF}b"
SHOWN = r"a\x1b[31m\u202e\udcffb"


def test_what_is_not_to_be_seen_is_written_out() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("ρ – ‖g‖², 日本 é") == "ρ – ‖g‖², 日本 é"
    assert printable("one\ntwo\r\x00") == "one\ntwo\\r\\x00"
    assert printable("one\ntwo", lines=False) == r"one\ntwo"


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=20))
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(c) for c in shown if c != "\n"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode("utf-8")
    assert printable(shown) == shown


def test_every_part_of_a_message_is_made_so(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Message(EVIL, f"{EVIL}\n", EVIL, EVIL).render().plain
    assert plain == f"error: {SHOWN}\\n: {SHOWN}\n hint: {SHOWN}\n next: {SHOWN}"
    output = Output()
    output.warning(EVIL)
    output.chatter(EVIL)
    assert capsys.readouterr().err == f"warning: {SHOWN}\n{SHOWN}\n"
    assert outcome(result("ring", status="failed", message=EVIL)).endswith(r"a\x1b[31m\u202e\udcffb")


def test_documents_are_exact(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("ρ", EVIL):
        Output(json_only=True).document({"name": value})
        assert json.loads(capsys.readouterr().out) == {"name": value}


LINES: list[list[str]] = [
    [f"--{EVIL}"],
    [f"tr{EVIL}"],
    ["train", f"--{EVIL}", "1"],
    ["train", "--config", f"{EVIL}.yaml"],
    ["train", "--set", f"{EVIL}=1"],
    ["train", "--set", f"model.kwargs.{EVIL}={EVIL}", "--model", "test_vit", "--dry-run"],
    ["train", "--set", f"label={EVIL}"],
    ["train", "--opt", f"{EVIL}=1"],
    ["train", "--output", EVIL],
    ["train", "--dataset", f"hfds/{EVIL}"],
    ["compare", "--optimizers", f"{EVIL},adamw"],
    ["compare", "--expect", f"{EVIL}.n > 0"],
    ["report", EVIL],
    ["optimizers", "show", EVIL],
    ["config", "check", EVIL],
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_the_command_line(grng: Call, workdir: Path, line: list[str]) -> None:
    ran = grng(*line)
    assert (ran.code, ran.out) == (2, "")
    for sign in (RED, TURNED, HALF):
        assert sign not in ran.err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/x", "..", ".", "a/../../x", f"x{TURNED}", "x\ny", "x\\y", "CON", "x" * 250])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_names_write_nothing_outside(grng: Call, workdir: Path, name: str, command: str) -> None:
    before = snapshot(workdir.parent)
    if command == "train":
        ran = grng("train", "--set", f"label={name}", "--dataset", "nothing")
    else:
        (workdir / "x.yaml").write_text(
            json.dumps({"optimizers": [{"name": "sgd", "label": name}], "dataset": "nothing"})
        )
        ran = grng("compare", "--config", "x.yaml")
        (workdir / "x.yaml").unlink()
    assert (ran.code, ran.out) == (2, "")
    assert snapshot(workdir.parent) == before
    path = workdir / directory_name(name)
    assert path.parent == workdir
    assert path.resolve().parent == workdir.resolve()
    assert len(path.name) <= 255


@pytest.mark.parametrize("field", ["label", "optimizer", "model", "dataset"])
def test_a_result_of_others_with_such_a_name_is_refused(tmp_path: Path, field: str) -> None:
    value: dict[str, Any] = json.loads(result("ring").to_json())
    (tmp_path / "result.json").write_text(json.dumps({**value, field: f"x{RED}"}))
    with pytest.raises(RunDirectoryError, match="is damaged or no result of grng"):
        RunResult.load(tmp_path / "result.json")


def test_file_names_that_are_no_unicode_go_into_results_written_out(tmp_path: Path) -> None:
    one = result("ring")
    changed = one.model_copy(update={"data": type(one.data)(classes=[f"a{HALF}"], skipped_pictures=[f"{HALF}: gone"])})
    changed.save(tmp_path / "result.json")
    assert RunResult.load(tmp_path / "result.json").data.classes == [r"a\udcff"]
