from __future__ import annotations

import os

import pytest
import torch
from torch.utils import deterministic

from grng.errors import GrngError
from grng.training.device import device_name, execution_settings, resolve_device


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


@pytest.mark.usefixtures("no_cuda")
def test_without_a_gpu() -> None:
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(GrngError) as caught:
        resolve_device("cuda")
    assert str(caught.value) == "machine.device: no CUDA device is available. Use auto, or cpu."


@pytest.mark.usefixtures("two_gpus")
def test_with_gpus() -> None:
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 0)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(GrngError, match="there is no device 'cuda:2', only cuda:0 to cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "CPU", "cpu:3", "meta", "xpu", "", "tpu:0"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(GrngError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"machine.device: unknown device {name!r}. Use auto, cpu, cuda, cuda:1, … or mps."


def test_the_processor_has_a_name() -> None:
    assert device_name(torch.device("cpu"))


def settings() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        getattr(deterministic, "fill_uninitialized_memory"),  # noqa: B009 - type checkers do not see it
        torch.is_grad_enabled(),
    )


def test_settings_are_made_and_put_back() -> None:
    before = settings()
    with torch.no_grad(), execution_settings(torch.device("cpu"), threads=2):
        assert settings() == (2, True, True, False, True)
    assert settings() == before


def test_settings_are_put_back_after_an_error() -> None:
    before = settings()

    def fail() -> None:
        with execution_settings(torch.device("cpu"), threads=2):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert settings() == before


def test_a_gpu_keeps_the_callers_settings() -> None:
    before = settings()
    with execution_settings(torch.device("cuda"), threads=None):
        assert settings() == before


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two threads that run at once")
def test_a_parallel_gather_has_one_result() -> None:
    """The backward of a relative position table: without the setting, threads add in whatever order they come."""
    torch.manual_seed(0)
    values = torch.randn(400_000)
    index = torch.randint(0, 3, (400_000,))
    with execution_settings(torch.device("cpu"), threads=2):
        sums = [torch.zeros(3).index_put_((index,), values, accumulate=True) for _ in range(5)]
    assert all(torch.equal(sums[0], other) for other in sums)
