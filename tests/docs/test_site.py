"""The docs site: its reference is what the code says, its navigation has every page, and it builds without a warning."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import grng
from grng.experiments.compare_config import CompareConfig
from grng.experiments.sweeps.config import SweepConfig
from grng.runs.config import RunConfig
from grng_cli.main import app
from tests.docs.pages import DOCS, ROOT
from tests.oracles.scripts import SCRIPTS


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def test_every_option_of_every_command_is_in_the_reference(reference: Any) -> None:
    page = reference("reference_cli").page()
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        for path, leaf in [(f"{name} {child}", one) for child, one in getattr(command, "commands", {}).items()] or [
            (name, command)
        ]:
            section = page.partition(f"\n## grng {path}\n")[2].partition("\n## ")[0]
            options = [name for one in leaf.params if one.param_type_name == "option" for name in one.opts]
            missing = [option for option in options if not re.search(rf"^\|.*`{option}`", section, flags=re.MULTILINE)]
            assert section, path
            assert not missing, f"grng {path}: {missing}"


def test_choices_values_and_escapes_of_the_command_line(reference: Any) -> None:
    page = reference("reference_cli").page()
    assert "| `--config`, `-c` | `FILE`, repeatable |" in page
    assert "| `--json` |  | Print one JSON document on stdout, nothing else. |" in page
    assert "```text\ngrng report [OPTIONS] DIR…\n```" in page
    assert "train\\|compare\\|sweep" in page
    assert "'ring\\[rho=0.1,damping=0.01\\]'" in page  # Markdown's own escapes, not rich's


def test_every_key_of_every_section_is_in_the_reference(reference: Any) -> None:
    page = reference("reference_config").page()
    for kind in (RunConfig, CompareConfig, SweepConfig):
        for key in kind.model_fields:
            assert f"| `{key}` |" in page
    training = page.partition("\n## TrainingConfig\n")[2].partition("\n## ")[0]
    fields = RunConfig.model_fields["training"].annotation.model_fields  # type: ignore[union-attr]
    assert re.findall(r"^\| `(\w+)` \|", training, flags=re.MULTILINE) == list(fields)
    assert "| `batch_size` | a whole number, at least 1 | `128` | Images per step. |" in training
    assert '| `schedule` | `cosine` / `constant` / `linear` / `step` | `"cosine"` |' in training
    assert "runs/compare-\\<id>" in page


def test_every_public_name_is_in_the_reference_and_there(reference: Any) -> None:
    names = [name for group in reference("reference_api").NAMES.values() for name in group]
    assert {name.rpartition(".")[2] for name in names} >= set(grng.__all__) - {"__version__"}
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert name == "grng.statistics" or hasattr(importlib.import_module(module), attribute), name


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, which names a function."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, tag, node: tag)


def _pages(entry: Any) -> list[str]:
    parts = entry.values() if isinstance(entry, dict) else entry
    return [entry] if isinstance(entry, str) else [page for part in parts for page in _pages(part)]


def test_the_navigation_has_every_page_once(reference: Any) -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Loader)
    shown = _pages(config["nav"])
    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(shown) == sorted([*there, *reference("docs_hooks").PAGES])


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_needs_no_other_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {page: page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    assert len(pages) > 40
    for page, text in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\">\s]+)", text)
        loaded += re.findall(r"<link[^>]* rel=\"?(?:stylesheet|preconnect)\"?[^>]* href=\"?(https?:[^\">\s]+)", text)
        assert not loaded, page
    api = (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    assert 'id="grng.optim.ring.RING"' in api
    assert 'id="grng.experiments.compare.Comparison.table"' in api
    assert 'id="grng.experiments.sweeps.summary.Summary.plot"' in api
