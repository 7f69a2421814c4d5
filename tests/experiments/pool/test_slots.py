from __future__ import annotations

import pytest

from grng.errors import GrngError
from grng.experiments.pool.slots import Slot, share_out, usable_cores

CORES = (0, 1, 2, 5)


def test_by_default_every_core_has_a_worker_of_its_own() -> None:
    assert share_out(workers=None, threads=None, cores=CORES) == [Slot((core,), 1) for core in CORES]


def test_given_workers_divide_the_cores_evenly() -> None:
    assert share_out(workers=2, threads=None, cores=CORES) == [Slot((0, 1), 2), Slot((2, 5), 2)]
    assert share_out(workers=3, threads=None, cores=CORES) == [Slot((0,), 1), Slot((1,), 1), Slot((2,), 1)]


def test_given_threads_decide_the_number_of_workers() -> None:
    assert share_out(workers=None, threads=2, cores=CORES) == [Slot((0, 1), 2), Slot((2, 5), 2)]
    assert share_out(workers=None, threads=3, cores=CORES) == [Slot((0, 1, 2), 3)]


def test_more_workers_than_cores_are_marked_and_not_pinned() -> None:
    assert share_out(workers=5, threads=None, cores=CORES) == [Slot((), 1, time_shared=True)] * 5
    assert share_out(workers=None, threads=8, cores=CORES) == [Slot((), 8, time_shared=True)]


def test_one_worker_a_gpu() -> None:
    assert share_out(workers=None, threads=None, cores=CORES, gpus=["3", "7"]) == [
        Slot((0, 1), 2, "3"),
        Slot((2, 5), 2, "7"),
    ]


def test_workers_that_share_a_gpu_are_marked() -> None:
    slots = share_out(workers=2, threads=1, cores=CORES, gpus=["3"])
    assert slots == [Slot((0,), 1, "3", time_shared=True), Slot((1,), 1, "3", time_shared=True)]


@pytest.mark.parametrize(
    ("workers", "threads", "said"),
    [
        (0, None, "--workers: must be at least 1, not 0"),
        (1, 0, "--threads-per-run: must be at least 1, not 0"),
        (-1, None, "--workers: must be at least 1, not -1"),
    ],
)
def test_counts_below_one_are_refused(workers: int, threads: int | None, said: str) -> None:
    with pytest.raises(GrngError) as caught:
        share_out(workers=workers, threads=threads, cores=CORES)
    assert str(caught.value) == said


def test_usable_cores_are_those_of_the_process() -> None:
    import os

    assert set(usable_cores()) == os.sched_getaffinity(0)


def test_a_share_of_a_gpu_lets_several_runs_go_on_each() -> None:
    slots = share_out(workers=None, threads=1, cores=CORES, gpus=["3", "7"], gpus_per_run=0.5)
    assert [slot.gpu for slot in slots] == ["3", "7", "3", "7"]
    assert all(slot.time_shared for slot in slots)
    assert len(share_out(workers=None, threads=1, cores=CORES, gpus=["3"], gpus_per_run=0.1)) == 10
    assert not any(slot.time_shared for slot in share_out(workers=2, threads=1, cores=CORES, gpus=["3", "7"]))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, 2.0])
def test_a_run_uses_at_most_one_gpu(share: float) -> None:
    with pytest.raises(GrngError, match="a run uses one GPU, or a share of one") as caught:
        share_out(workers=None, threads=None, cores=CORES, gpus=["0"], gpus_per_run=share)
    assert caught.value.where == "--gpus-per-run"
