"""Where a run's batches come from: tensors in memory, or picture files read by worker processes.

Whatever the source, step k's batch is the samples that `BatchOrder` says, and their random changes are a function of
the run's seed, the epoch and the sample alone. So neither the number of workers, nor a kill, nor going on within an
epoch changes what the model sees.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from grng import data as datasets
from grng.data import DataBundle, Split
from grng.data.batch_augment import BatchAugment, augmented, normalised
from grng.data.opening import PictureData, PictureSplit
from grng.data.pipeline import constants, evaluation_transform, training_transform
from grng.errors import GrngError
from grng.runs.config import RunConfig
from grng.training.order import BatchOrder
from grng.training.picture_loader import LoaderPictures, Reading, StepSampler, Unread, default_workers, loader
from grng.training.seeding import derive, preserved_rng

Data = DataBundle | PictureData
AnySplit = Split | PictureSplit

WHOLE = slice(None)
_WARM_UP = 8


def load_data(config: RunConfig) -> Data:
    """Return the data set of a resolved config.

    Raises:
        GrngError: If it cannot be had.
    """
    if not datasets.is_door(config.dataset.name):
        return datasets.load(config.dataset.name, img_size=config.dataset.img_size)
    from grng.runs.picture_settings import data_request

    return datasets.load_pictures(data_request(config, threads=max(1, _workers(config))))


def open_feed(config: RunConfig, data: Data, order: BatchOrder, device: torch.device, *, steps: int) -> Feed:
    """Return the feed of a run.

    Args:
        config: Resolved.
        data: Of `load_data`.
        order: Which samples each step sees.
        device: Where batches are put.
        steps: Steps of the whole run; nothing is read ahead beyond them.
    """
    if isinstance(data.train, PictureSplit):
        assert isinstance(data, PictureData)
        return LoaderFeed(config, data, order, device, steps=steps)
    return MemoryFeed(config, data, order, device)


def batch_augment(config: RunConfig) -> BatchAugment:
    """Return what a config does to whole batches."""
    augment = config.augment
    padding = augment.padding if augment.crop == "pad" else None
    return BatchAugment(flip=augment.flip, padding=padding, erasing=augment.random_erasing)


class Feed(ABC):
    """Gives the session its batches: images float32 [n, c, h, w], normalised, and labels int64 [n], on the device."""

    def __init__(self, config: RunConfig, data: Data, order: BatchOrder, device: torch.device) -> None:
        self._seed = config.seed
        self._order = copy(order)  # it remembers an epoch, which others may be in the midst of
        self._device = device
        self._how = batch_augment(config)
        mean, std = (data.geometry.mean, data.geometry.std) if isinstance(data, PictureData) else (data.mean, data.std)
        self._mean, self._std = constants(mean, device), constants(std, device)

    @abstractmethod
    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return one step's batch; steps are counted from 0 over the whole run, and best asked for in turn."""

    @abstractmethod
    def sample(self) -> tuple[Tensor, Tensor]:
        """Return a batch of the usual shape that belongs to no step."""

    @abstractmethod
    def plain(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the training samples `indices` [n], unchanged."""

    @abstractmethod
    def evaluation(self, split: AnySplit, batch_size: int, *, part: slice = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a split in order, unchanged, in batches of at most `batch_size`; of these `part`."""

    @abstractmethod
    def close(self) -> None:
        """End the processes that read ahead."""

    def _finished(self, images: Tensor, step: int) -> Tensor:
        """Return a training batch of `images`, on the device, as the model gets it."""
        epoch = step // self._order.steps_per_epoch
        stream = derive(self._seed, "augmentation", epoch)
        return augmented(images, self._order.batch(step), self._how, stream=stream, mean=self._mean, std=self._std)


class MemoryFeed(Feed):
    """Batches from tensors: the built-in sets, and small pictures that were decoded into uint8 on the device."""

    def __init__(self, config: RunConfig, data: Data, order: BatchOrder, device: torch.device) -> None:
        super().__init__(config, data, order, device)
        assert isinstance(data.train, Split)
        self._resident: dict[int, Split] = {}
        self._train = self._placed(data.train)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Index the training split."""
        images, labels = self._indexed(self._order.batch(step))
        return self._finished(images, step), labels

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return the first step's samples, unchanged."""
        return self.plain(self._order.batch(0))

    def plain(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Index the training split."""
        images, labels = self._indexed(indices)
        return normalised(images, self._mean, self._std), labels

    def evaluation(self, split: AnySplit, batch_size: int, *, part: slice = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield slices of the split."""
        assert isinstance(split, Split)
        placed = self._placed(split)
        batches = list(zip(placed.images.split(batch_size), placed.labels.split(batch_size), strict=True))
        for images, labels in batches[part]:
            yield normalised(images.to(self._device), self._mean, self._std), labels.to(self._device)

    def close(self) -> None:
        """Nothing: no process reads ahead."""

    def _indexed(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        train = self._train
        indices = indices.to(train.images.device)
        images, labels = train.images.index_select(0, indices), train.labels.index_select(0, indices)
        return images.to(self._device), labels.to(self._device)

    def _placed(self, split: Split) -> Split:
        """Return a uint8 split on the device, put there once; others stay where they are."""
        if split.images.dtype != torch.uint8:
            return split
        if id(split) not in self._resident:
            self._resident[id(split)] = Split(split.images.to(self._device), split.labels.to(self._device))
        return self._resident[id(split)]


class LoaderFeed(Feed):
    """Batches of pictures that worker processes read ahead, from whichever step is asked for on."""

    def __init__(
        self, config: RunConfig, data: PictureData, order: BatchOrder, device: torch.device, *, steps: int
    ) -> None:
        from grng.runs.picture_settings import picture_augment

        super().__init__(config, data, order, device)
        assert isinstance(data.train, PictureSplit)
        self._workers = _workers(config)
        self._steps = steps
        how = picture_augment(config.augment)
        seed = config.seed if how.active else None
        self._plain = evaluation_transform(data.geometry)
        self._train = LoaderPictures(data.train, training_transform(data.geometry, how), seed=seed)
        self._reading: Reading | None = None
        self._next = -1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Wait for the workers to have read a step's pictures."""
        if self._reading is None or step != self._next or step >= self._steps:
            self.close()
            sampler = StepSampler(copy(self._order), step, max(self._steps, step + 1))
            self._reading = Reading(self._loader(self._train, sampler))
            self._next = step
        # Read in this process, the pictures' own random changes would take from the run's generators.
        with preserved_rng() if self._workers == 0 and self._train.random else contextlib.nullcontext():
            images, labels = self._take(next(self._reading))
        self._next += 1
        return self._finished(images, step), labels

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return the first few pictures, repeated."""
        count = min(_WARM_UP, len(self._train))
        images, labels = self.plain(torch.arange(count))
        places = torch.arange(len(self._order.batch(0)), device=self._device) % count
        return images[places], labels[places]

    def plain(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Read the pictures in this process."""
        pictures = replace(self._train, transform=self._plain, seed=None)
        images, labels = self._take(LoaderPictures.collate([pictures[place, 0] for place in indices.tolist()]))
        return normalised(images, self._mean, self._std), labels

    def evaluation(self, split: AnySplit, batch_size: int, *, part: slice = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """Read the split, in as many processes as in training."""
        assert isinstance(split, PictureSplit)
        pictures = LoaderPictures(split, self._plain, seed=None)
        places = range(len(split))
        batches = [[(place, 0) for place in places[begin : begin + batch_size]] for begin in places[::batch_size]]
        with contextlib.closing(Reading(self._loader(pictures, batches[part]))) as reading:
            for read in reading:
                images, labels = self._take(read)
                yield normalised(images, self._mean, self._std), labels

    def close(self) -> None:
        """End the workers."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _loader(self, pictures: LoaderPictures, batches: Any) -> DataLoader[Any]:
        return loader(pictures, batches, workers=self._workers, pin=self._device.type == "cuda")

    def _take(self, read: Unread | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if isinstance(read, Unread):
            raise GrngError(
                f"{read.name} cannot be read: {read.why}.",
                where="dataset.data_dir",
                hint="With --set machine.verify_data=true such pictures are found and left out before training.",
            )
        images, labels = read
        return images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


def _workers(config: RunConfig) -> int:
    given = config.machine.data_workers
    return default_workers() if given is None else given
