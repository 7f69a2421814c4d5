"""Whatever a config file or `--set` holds: it is good, or one message says what is wrong; never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from grng.optimizers import list_optimizers
from grng.runs.config import RunConfig
from tests.cli.conftest import Ran, call

FEW, MANY = 25, 600


def _keys(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield before + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{before}{name}.")


KEYS = [*_keys(RunConfig), "optimizer.rho", "optimizer.lr", "optimizers", "seeds", "model.kwargs.drop_rate"]
NAMES = [info.name for info in list_optimizers()] + [
    "timm:lamb",
    "timm:",
    "digits",
    "folder",
    "hfds/x",
    "test_vit",
    "ce",
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.integers(),
    st.floats(),
    st.sampled_from(NAMES),
    st.text(max_size=12),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6)  # fmt: skip
keys = st.sampled_from(KEYS) | st.text(max_size=12)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Nested mappings with keys that there are, and others, and values that fit, and others."""
    config: dict[str, Any] = {}
    for key in draw(st.lists(keys, max_size=5)):
        below = config
        *above, last = key.split(".")
        for name in above:
            inner = below.setdefault(name, {})
            below = inner if isinstance(inner, dict) else config
        below[last] = draw(values)
    return config


def dumped(config: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(config, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


files = st.one_of(
    configs().map(dumped),
    st.binary(max_size=60),
    st.text(alphabet="!&*[]{}:-,#|>'\"%@`? \n\ta1~.", max_size=40).map(str.encode),
)


def assert_one_message(ran: Ran) -> None:
    assert ran.code in (0, 2), ran.err
    assert "Traceback" not in ran.err
    assert "unexpected" not in ran.err or "is not valid YAML" in ran.err, ran.err
    if ran.code == 2:
        assert ran.out == ""
        assert ran.err.startswith("error: ") or "Usage: grng" in ran.err


def check_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_one_message(call("config", "check", path))


def check_set(key: str, value: str) -> None:
    assert_one_message(call("train", "--dry-run", "--set", f"{key}={value}"))


calm = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
pieces = st.one_of(
    st.text(max_size=20), values.map(lambda value: yaml.safe_dump(value, default_flow_style=True).strip())
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRNG_DEBUG", raising=False)
    monkeypatch.setattr("grng_cli.train._describe", lambda *_: None)  # which would measure a few steps
    return tmp_path / "run.yaml"


@settings(max_examples=FEW, deadline=None, suppress_health_check=calm)
@given(content=files)
def test_config_files(place: Path, content: bytes) -> None:
    check_file(place, content)


@settings(max_examples=FEW, deadline=None, suppress_health_check=calm)
@given(key=keys, value=pieces)
def test_set(place: Path, key: str, value: str) -> None:
    check_set(key, value)


@pytest.mark.parametrize(
    "value", ['"\x08', "['\x1b']", '"\udcff"', "9" * 5000, "[" * 3000, "{a: &b [*b]}", "!!int '3'"]
)
def test_what_was_found_once(place: Path, value: str) -> None:
    check_set("seed", value)


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None, suppress_health_check=calm)
@given(content=files)
def test_many_config_files(place: Path, content: bytes) -> None:
    check_file(place, content)


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None, suppress_health_check=calm)
@given(key=keys, value=pieces)
def test_many_sets(place: Path, key: str, value: str) -> None:
    check_set(key, value)
