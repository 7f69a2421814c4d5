"""`grng env`: what it tells, and what it must not."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import torch

from grng import __version__
from grng.training import system
from grng.training.own_code import OWN_CODE
from tests.cli.conftest import Call


def test_versions_machine_and_threads(grng: Call) -> None:
    told = json.loads(grng("env", "--json").out)
    assert told["versions"]["grng"] == __version__
    assert told["versions"]["code of grng"] == OWN_CODE
    for package in ("torch", "timm", "torchvision", "numpy", "scipy", "optuna", "tensorboard"):
        assert told["versions"][package] == version(package)
    assert told["versions"]["python"].startswith(platform.python_version())
    assert told["processor"]["hardware threads"] == psutil.cpu_count()
    assert told["processor"]["usable by this process"] == len(os.sched_getaffinity(0))
    assert told["threads"]["torch"] == torch.get_num_threads()
    assert told["gpus"]["CUDA of torch"] == torch.version.cuda
    assert told["disk"]["free"].endswith(" GB")
    assert [section for section, facts in told.items() if "failed" in facts] == []


def test_the_text_says_the_same(grng: Call) -> None:
    told, text = json.loads(grng("env", "--json").out), grng("env").out
    for section, facts in told.items():
        assert f"{section}\n" in text
        for name in facts:
            assert f"  {name}:" in text
    assert "\x1b" not in text


def test_no_secret_is_told(grng: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("WANDB_API_KEY", "secret2")
    monkeypatch.setenv("TORCH_HOME", "/home/secret3")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    ran = grng("env")
    assert "secret" not in ran.out
    assert "OMP_NUM_THREADS: 3" in " ".join(ran.out.split())
    assert "TORCH_HOME: set (its value is not told)" in " ".join(ran.out.split())
    assert "WANDB" not in ran.out
    assert str(Path.cwd()) not in ran.out


def test_what_is_broken_is_told_and_ends_nothing(grng: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise OSError("libcuda is not what it was")

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    ran = grng("env")
    assert ran.code == 0
    assert "OSError: libcuda is not what it was" in ran.out
    assert "threads" in ran.out


def test_every_variable_that_is_told_holds_no_path_and_no_name() -> None:
    risky = ("TOKEN", "KEY", "SECRET", "PASS", "HOME", "PATH", "DIR", "USER", "PROXY", "URL", "HOST")
    assert [name for name in system.VARIABLES if any(part in name for part in risky)] == []
