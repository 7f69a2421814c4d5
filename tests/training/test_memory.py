from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grng.training import memory
from grng.training.memory import MemoryMeter, optimizer_state_bytes

CPU = torch.device("cpu")


def kernel_tells() -> bool:
    return MemoryMeter(CPU)._kernel_peak


def use(megabytes: int) -> None:
    torch.ones(megabytes * 250_000)


def test_a_peak_between_two_looks_is_seen() -> None:
    if not kernel_tells():
        pytest.skip("this kernel cannot reset the peak of the resident set")
    meter = MemoryMeter(CPU)
    assert meter.growth_mb < 20
    use(200)
    assert 190 < meter.growth_mb < 260
    assert meter.peak_mb > meter.growth_mb


def test_a_reset_forgets_the_peak_but_not_the_baseline() -> None:
    if not kernel_tells():
        pytest.skip("this kernel cannot reset the peak of the resident set")
    meter = MemoryMeter(CPU)
    use(200)
    kept = torch.ones(100 * 250_000)
    meter.reset_peak()
    assert 90 < meter.growth_mb < 150
    assert len(kept) == 25_000_000


def test_without_the_kernel_it_samples() -> None:
    meter = MemoryMeter(CPU, kernel_peak=False)
    use(200)
    assert meter.growth_mb < 60, "what nobody looked at was not seen"
    held = torch.ones(150 * 250_000)
    meter.sample()
    del held
    assert 140 < meter.growth_mb < 200


def test_a_kernel_that_refuses_means_sampling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    meter = MemoryMeter(CPU)
    held = torch.ones(100 * 250_000)
    meter.sample()
    assert 90 < meter.growth_mb < 150
    assert len(held) == 25_000_000


def test_the_numbers_of_an_earlier_process_count_when_they_are_larger() -> None:
    meter = MemoryMeter(CPU)
    meter.load_state_dict({"peak_mb": 1e6, "growth_mb": 9e5})
    assert (meter.peak_mb, meter.growth_mb) == (1e6, 9e5)
    meter.load_state_dict({"peak_mb": 0.0, "growth_mb": 0.0})
    assert 50 < meter.peak_mb < 1e5
    assert meter.state_dict().keys() == {"peak_mb", "growth_mb"}


def test_state_bytes_of_known_optimizers() -> None:
    weight = torch.nn.Parameter(torch.zeros(10, 5))
    weight.grad = torch.ones(10, 5)
    sgd = torch.optim.SGD([weight], lr=0.1)
    sgd.step()
    assert optimizer_state_bytes(sgd) == 0
    adam = torch.optim.AdamW([weight], lr=0.1)
    adam.step()
    assert optimizer_state_bytes(adam) == 2 * 50 * 4 + 4  # two moments and the step


def test_state_bytes_count_shared_storage_once_and_look_into_containers() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    sgd = torch.optim.SGD([weight], lr=0.1)
    factor = torch.zeros(8, 8, dtype=torch.float64)
    sgd.state[weight] = {
        "A": factor,
        "view": factor[:4],
        "nested": {"list": [torch.zeros(6)], "name": "text", "count": 3},
    }
    assert optimizer_state_bytes(sgd) == 64 * 8 + 24


def test_what_is_set_aside_does_not_count_and_what_was_before_does() -> None:
    if not kernel_tells():
        pytest.skip("this kernel cannot reset the peak of the resident set")
    meter = MemoryMeter(CPU)
    with meter.aside():
        use(300)
    assert meter.growth_mb < 60
    use(150)
    with meter.aside():
        use(300)
    assert 140 < meter.growth_mb < 210


def test_what_is_set_aside_does_not_count_on_a_kernel_that_does_not_tell() -> None:
    meter = MemoryMeter(CPU, kernel_peak=False)
    with meter.aside():
        held = torch.ones(150 * 250_000)
        meter.sample()
        del held
    assert meter.growth_mb < 60
