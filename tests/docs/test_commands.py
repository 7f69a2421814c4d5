"""Every block of README and docs is known to some test, and every command in them is one that the programs take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import call
from tests.docs.command_lines import check, command_lines
from tests.docs.pages import ROOT, Block, all_pages, blocks_of, looks_like_command

PAGES = all_pages()
INLINE = re.compile(r"(?<!`)`(grng [^`\n]+)`(?!`)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_those_of_the_programs(page: Path) -> None:
    problems = []
    for block in blocks_of(page):
        problems += _problems(block)
    for text in INLINE.findall(page.read_text(encoding="utf-8")):
        # in prose N stands for a number, <name> for a name, and a command may be named without what it needs
        for words in command_lines(re.sub(r" [A-Z]\b(?!-)", " 1", re.sub("[<>]|… ", "", text))):
            found = _problem(f"{name_of(page)}: {text}", words)
            problems += [one for one in found if not re.search("Missing parameter|requires an argument", one)]
    assert not problems, "\n".join(problems)


def _problems(block: Block) -> list[str]:
    script = block.text
    if block.kind == "options":
        script = "".join(f"grng train {line}\n" for line in block.text.splitlines())
    elif block.kind != "commands":
        return []
    return [problem for words in command_lines(script) for problem in _problem(block.name, words)]


def _problem(where: str, words: list[str]) -> list[str]:
    try:
        check(words)
    except (Exception, SystemExit) as error:
        return [f"{where}: {' '.join(words)}: {getattr(error, 'message', None) or error}"]
    return []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_block_is_without_a_test(page: Path) -> None:
    for block in blocks_of(page):
        if block.kind == "display":
            hidden = [line for line in block.text.splitlines() if looks_like_command(line)]
            assert not hidden, f"{block.name} has commands that no test sees: {hidden}"
        if block.kind == "commands":
            assert list(command_lines(block.text)), block.name


YAML = [block for page in PAGES for block in blocks_of(page) if block.kind == "yaml"]


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.name)
def test_yaml_is_a_config_or_a_workflow(block: Block, tmp_path: Path) -> None:
    document = yaml.safe_load(block.text)
    assert isinstance(document, dict | list)
    if block.directive.skipped:
        return
    jobs = document.get("jobs") if isinstance(document, dict) else {"part": {"steps": document}}
    if jobs is None:
        (tmp_path / "config.yaml").write_text(block.text, encoding="utf-8")
        ran = call("config", "check", tmp_path / "config.yaml")
        assert ran.code == 0, ran.err
        return
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    scripts = [words for step in steps for words in command_lines(step.get("run", ""))]
    assert any(words[0] == "grng" for words in scripts)
    assert not [problem for words in scripts for problem in _problem(block.name, words)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grng train --optimiser ring", "No such option"),
        ("grng trian", "has no command"),
        ("grng train --epochs many", "many"),
        ("grng train --set training.epoch=3", "training.epoch"),
        ("grng compare --config compare/non-existent", "non-existent"),
        ("python scripts/no_such.py", "not there"),
        ("python -m scripts.kill_tests --no-such 3", "no option --no-such"),
        ("pip install 'grng[nothing]'", "no extra nothing"),
        ('grng train --config "$(grng sweep --optimise ring)"', "No such option"),
        ("srun --nodes 1 -- grng train --optimise ring", "No such option"),
        ("ssh head 'grng train --optimise ring'", "No such option"),
        ('until [ "$(a "b(\'c\')")" = 1 ]; do grng train --optimise ring; done', "No such option"),
    ],
)
def test_a_command_that_is_wrong_is_seen(text: str, said: str) -> None:
    problems = [problem for words in command_lines(text) for problem in _problem("here", words)]
    assert any(said in problem for problem in problems), problems


def test_a_page_is_cut_into_its_blocks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- test: skip, it takes a cluster -->\n\n    grng train \\\n      --epochs 2  # two\n    python3 -m this\n\n"
        "- an item\n\n    grng what belongs to the item\n\nText\n\n    y = A x\n\n    --freeze 'blocks.*'\n\n"
        '<!-- test: replace "8" with "2" -->\n```bash\ngrng compare --seeds 8 | tee log; FEW=1 grng report runs > out\n```\n'
    )
    first, equation, fenced = blocks_of(page)
    assert (first.kind, first.directive.skipped, first.line) == ("commands", "it takes a cluster", 5)
    assert list(command_lines(first.text)) == [["grng", "train", "--epochs", "2"], ["python3", "-m", "this"]]
    assert equation.kind == "display"
    assert fenced.directive.applied(fenced.text).startswith("grng compare --seeds 2 |")
    commands = [["grng", "compare", "--seeds", "8"], ["tee", "log"], ["grng", "report", "runs"]]
    assert list(command_lines(fenced.text)) == commands


@pytest.mark.parametrize(
    "text",
    ["```\nwhat is it?\n```\n", "<!-- test: skip, no block -->\n\nText\n", "<!-- test: sikp, x -->\n\n    grng\n"],
)
def test_a_page_that_says_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(AssertionError):
        blocks_of(tmp_path / "page.md")
