from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from grng.data.bundle import Split
from grng.data.opening import PictureSplit
from grng.errors import GrngError
from grng.runs.config import RunConfig, resolve
from grng.training.feed import Feed, LoaderFeed, MemoryFeed, load_data, open_feed
from grng.training.order import BatchOrder
from grng.training.picture_loader import LoaderPictures, Reading, default_workers
from grng.training.seeding import rng_state
from tests.data.makers import image_folder, spoil
from tests.training.helpers import difference

CPU = torch.device("cpu")
GEOMETRIC: dict[str, Any] = {"flip": 0.5, "crop": "pad", "padding": 3, "random_erasing": 0.5}
PER_PICTURE: dict[str, Any] = {
    "crop": "resized",
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "random_erasing": 0.3,
    "flip": 0.5,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("pictures"), {"red": 20, "blue": 20}, suffix=".jpg", size=(30, 40))


def config_of(folder: Path, *, workers: int = 0, in_memory: Any = False, **augment: Any) -> RunConfig:
    return resolve(
        RunConfig.model_validate(
            {
                "dataset": {"name": "folder", "data_dir": str(folder), "img_size": 16, "in_memory": in_memory},
                "training": {"batch_size": 6, "steps": 12},
                "augment": augment,
                "machine": {"device": "cpu", "data_workers": workers},
            }
        )
    )


def feed_of(config: RunConfig) -> tuple[Feed, Any]:
    data = load_data(config)
    order = BatchOrder(len(data.train), config.training.batch_size, seed=config.seed)
    return open_feed(config, data, order, CPU, steps=12), data


def batches(config: RunConfig, steps: range = range(12)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    feed, _ = feed_of(config)
    with closing(feed):
        return [feed.batch(step) for step in steps]


@pytest.mark.parametrize("augment", [{}, GEOMETRIC, PER_PICTURE])
def test_the_number_of_workers_does_not_matter(folder: Path, augment: dict[str, Any]) -> None:
    alone = batches(config_of(folder, workers=0, **augment))
    assert alone[0][0].shape == (6, 3, 16, 16)
    assert alone[0][0].dtype == torch.float32
    for workers in (1, 3):
        assert difference(batches(config_of(folder, workers=workers, **augment)), alone) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_any_step_can_be_begun_with(folder: Path, workers: int) -> None:
    config = config_of(folder, workers=workers, **PER_PICTURE)
    straight = batches(config)
    for first in (3, 7):  # within the first epoch of 5 steps, and within the second
        assert difference(batches(config, range(first, 12)), straight[first:]) is None


@pytest.mark.parametrize("augment", [{}, GEOMETRIC])
def test_memory_and_files_give_the_same_batches_bit_for_bit(folder: Path, augment: dict[str, Any]) -> None:
    held, read = config_of(folder, in_memory=True, **augment), config_of(folder, **augment)
    for config, kind, split in ((held, MemoryFeed, Split), (read, LoaderFeed, PictureSplit)):
        feed, data = feed_of(config)
        assert isinstance(feed, kind)
        assert isinstance(data.train, split)
    assert difference(batches(held), batches(read)) is None


def test_every_epoch_and_seed_has_changes_of_its_own(folder: Path) -> None:
    feed, data = feed_of(config_of(folder, flip=0.5, crop="pad", random_erasing=0.5))
    other, _ = feed_of(config_of(folder, flip=0.5, crop="pad", random_erasing=0.5).model_copy(update={"seed": 1}))
    order = BatchOrder(len(data.train), 6, seed=0)
    seen: dict[int, list[torch.Tensor]] = {}
    for step in range(10):
        for index, image in zip(order.batch(step).tolist(), feed.batch(step)[0], strict=True):
            seen.setdefault(index, []).append(image)
    twice = [images for images in seen.values() if len(images) == 2]
    assert len(twice) > 20
    assert sum(torch.equal(*images) for images in twice) < len(twice) / 4
    assert not torch.equal(feed.batch(0)[0], other.batch(0)[0])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("in_memory", [True, False])
def test_the_runs_generators_are_left_alone(folder: Path, workers: int, in_memory: bool) -> None:
    augment: dict[str, Any] = GEOMETRIC if in_memory else PER_PICTURE
    feed, data = feed_of(config_of(folder, workers=workers, in_memory=in_memory, **augment))
    before = rng_state()
    with closing(feed):
        feed.sample()
        feed.batch(0)
        list(feed.evaluation(data.val, 3))
        feed.batch(1)
    assert difference(rng_state(), before) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_every_picture_once_and_unchanged(folder: Path, workers: int) -> None:
    changed, data = feed_of(config_of(folder, workers=workers, **PER_PICTURE))
    held, resident = feed_of(config_of(folder, in_memory=True))
    for name in ("train", "val", "test"):
        images, labels = map(torch.cat, zip(*changed.evaluation(getattr(data, name), 4), strict=True))
        expected, targets = map(torch.cat, zip(*held.evaluation(getattr(resident, name), 100), strict=True))
        assert torch.equal(images, expected)
        assert torch.equal(labels, targets)
        assert torch.equal(labels, getattr(data, name).labels)


def test_the_sample_has_a_batchs_shape_and_ends_no_reading(folder: Path) -> None:
    for config in (config_of(folder, **PER_PICTURE), config_of(folder, in_memory=True)):
        feed, _ = feed_of(config)
        images, labels = feed.sample()
        assert images.shape == (6, 3, 16, 16)
        assert labels.shape == (6,)


def test_built_in_sets_can_be_augmented_too() -> None:
    plain = resolve(RunConfig.model_validate({"dataset": "digits", "training": {"batch_size": 6}}))
    changed = resolve(
        RunConfig.model_validate({"dataset": "digits", "training": {"batch_size": 6}, "augment": {"flip": 1.0}})
    )
    (left, labels), (right, same) = (feed_of(config)[0].batch(2) for config in (plain, changed))
    assert torch.equal(left.flip(-1), right)
    assert torch.equal(labels, same)


def worker_process() -> BaseProcess:
    (child,) = multiprocessing.active_children()
    return child


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return image_folder(tmp_path, {"red": 60, "blue": 60}, suffix=".jpg", size=(200, 200))


@pytest.mark.parametrize("splits", ["train", "val"])
def test_a_reading_process_that_dies_is_one_message_when_its_batch_is_due(many: Path, splits: str) -> None:
    feed, data = feed_of(config_of(many, workers=1, auto_augment="rand-m9-mstd0.5-inc1"))
    reading = feed.evaluation(data.train, 2) if splits == "val" else (feed.batch(step) for step in range(12))
    with closing(feed):
        next(reading)
        child = worker_process()
        child.kill()
        child.join()  # its signal has come, and raised nothing here, where no batch is waited for
        with pytest.raises(GrngError, match=r"a process that reads pictures died: .*exited unexpectedly") as caught:
            list(reading)
    assert caught.value.where == "machine.data_workers"
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("kills", "kind"), [(0, GrngError), (1, MemoryError)])
def test_a_reading_process_that_the_kernel_killed_for_memory_counts_as_that(
    kills: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        num_workers = 3

        def __iter__(self) -> Iterator[Any]:
            yield torch.zeros(1)
            raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")

    counts = iter([4, 4 + kills])
    monkeypatch.setattr("grng.training.picture_loader.kernel_kills", lambda: {"memory.events": next(counts)})
    loader: Any = Dying()
    reading = Reading(loader)
    next(reading)
    with pytest.raises(kind, match="--data-workers 3" if kills else "exited unexpectedly"):
        next(reading)


def test_what_goes_wrong_in_a_reading_process_is_not_explained_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pictures: LoaderPictures, place: object) -> None:
        raise RuntimeError(f"something else at {place}")

    monkeypatch.setattr(LoaderPictures, "__getitem__", broken)
    feed, _ = feed_of(config_of(folder, workers=1))
    with closing(feed), pytest.raises(RuntimeError, match="something else at"):
        feed.batch(0)


def test_ctrl_c_does_not_end_the_workers(many: Path) -> None:
    feed, _ = feed_of(config_of(many, workers=1))
    with closing(feed):
        feed.batch(0)
        os.kill(worker_process().pid or 0, signal.SIGINT)
        for step in range(1, 12):
            feed.batch(step)


def test_a_picture_that_went_bad_is_named(many: Path) -> None:
    config = config_of(many, workers=1)
    feed, data = feed_of(config)
    bad = data.train.pictures.name(int(data.train.indices[BatchOrder(len(data.train), 6, seed=0).batch(2)[0]]))
    spoil(many / bad, "truncated")
    with closing(feed):
        for step in range(2):
            feed.batch(step)
        with pytest.raises(GrngError, match=f"(?i){bad} cannot be read: .*truncated"):
            feed.batch(2)


def test_the_default_leaves_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 0), (2, 1), (6, 5), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert default_workers() == workers
