"""torch's DataLoader over picture files, with every random number seeded by sample."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import _C, Tensor
from torch.utils.data import DataLoader, Dataset

from grng.data.decoding import read, reason
from grng.data.opening import PictureSplit
from grng.data.pipeline import Transform
from grng.errors import GrngError
from grng.runs.kernel_kills import kernel_kills, rose
from grng.training.order import BatchOrder
from grng.training.seeding import derive

Place = tuple[int, int]
"""The place of a sample in its split, and the epoch."""

_MOST_WORKERS = 8


@dataclass(frozen=True)
class Unread:
    """A picture that could not be read, and why; sent instead of its batch."""

    name: str
    why: str


@dataclass(frozen=True, eq=False)
class LoaderPictures(Dataset[Any]):
    """A split whose pictures are read one by one.

    Args:
        split: Which pictures.
        transform: Makes a picture uint8 [c, h, w].
        seed: The run's, where the transform draws random numbers; None: it does not.
    """

    split: PictureSplit
    transform: Transform
    seed: int | None

    @property
    def random(self) -> bool:
        """Whether reading draws from the global generators."""
        return self.seed is not None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, place: Place) -> Unread | tuple[Tensor, int]:
        """Read one picture; its random changes depend on seed, epoch and place alone."""
        index, epoch = place
        number = int(self.split.indices[index])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the metadata of single pictures
            try:
                picture = read(self.split.pictures, number, self.transform.mode)
            except MemoryError:
                raise
            except Exception as error:
                return Unread(self.split.pictures.name(number), reason(error))
            if self.seed is not None:
                _seed(derive(self.seed, "augmentation", epoch, index))
            return self.transform(picture), int(self.split.labels[index])

    @staticmethod
    def collate(read: Sequence[Unread | tuple[Tensor, int]]) -> Unread | tuple[Tensor, Tensor]:
        """Return uint8 images [n, c, h, w] and int64 labels [n]."""
        bad = next((entry for entry in read if isinstance(entry, Unread)), None)
        if bad is not None:
            return bad
        pairs = [entry for entry in read if not isinstance(entry, Unread)]
        return torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])


@dataclass(frozen=True)
class StepSampler:
    """The places of the samples of every step from `start` to before `stop`."""

    order: BatchOrder
    start: int
    stop: int

    def __iter__(self) -> Iterator[list[Place]]:
        for step in range(self.start, self.stop):
            epoch = step // self.order.steps_per_epoch
            yield [(index, epoch) for index in self.order.batch(step).tolist()]

    def __len__(self) -> int:
        return self.stop - self.start


def loader(pictures: LoaderPictures, batches: Iterable[list[Place]], *, workers: int, pin: bool) -> DataLoader[Any]:
    """Return torch's loader of `batches`.

    Args:
        pictures: What is read.
        batches: The places of each batch.
        workers: Processes; 0: this one.
        pin: Whether to put batches into page-locked memory.
    """
    # Forked where that is to be had: it starts in milliseconds, and needs no importable main module. The workers use
    # neither CUDA nor more than one thread, which is what forking a process with threads is dangerous for.
    context = ("fork" if sys.platform == "linux" else "spawn") if workers else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # as many as the user says
        made: DataLoader[Any] = DataLoader(
            pictures,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=LoaderPictures.collate,
            pin_memory=pin,
            worker_init_fn=_begin_worker if workers else None,
            multiprocessing_context=context,
            generator=torch.Generator(),  # else the loader takes its workers' seeds from the run's generator
        )
    return made


class Reading:
    """One pass over a loader's batches, whose workers start with it and end with `close`.

    torch's own handler of a dead worker's signal raises wherever this process then is, in the middle of a step or of a
    checkpoint. So the workers are taken off its list, and a dead one is noticed where its batch is waited for, which
    torch looks after every five seconds of waiting.
    """

    def __init__(self, made: DataLoader[Any]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This DataLoader will create")  # as many as the user says
            warnings.filterwarnings("ignore", message=".*is multi-threaded, use of fork", category=DeprecationWarning)
            batches: Any = iter(made)
        if getattr(batches, "_worker_pids_set", False):
            _C._remove_worker_pids(id(batches))
            batches._worker_pids_set = False
        self._batches = batches
        self._workers = made.num_workers
        self._kills = kernel_kills() if made.num_workers else {}

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return the next batch.

        Raises:
            GrngError: A worker has died.
            MemoryError: The kernel killed it because memory ran out.
        """
        try:
            return next(self._batches)
        except RuntimeError as error:
            if "exited unexpectedly" not in str(error):
                raise
            self.close()
            if rose(self._kills, kernel_kills()):
                raise MemoryError(
                    f"the kernel killed a process that reads pictures (now --data-workers {self._workers})"
                ) from error
            raise GrngError(
                f"a process that reads pictures died: {' '.join(str(error).split()).rstrip('.')}.",
                where="machine.data_workers",
                hint="Often memory ran out: give fewer --data-workers, or 0, and the same command again; it resumes.",
            ) from error

    def close(self) -> None:
        """End the workers."""
        # Told to by name: the traceback of an error may keep the iterator.
        if hasattr(self._batches, "_shutdown_workers"):
            self._batches._shutdown_workers()


def default_workers() -> int:
    """Return one process less than this one may use cores, from 1 to 8; 0 where it has one core alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores - 1)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - timm's transforms draw from the global generators
    torch.default_generator.manual_seed(seed)


def _begin_worker(number: int) -> None:
    # Ctrl-C reaches every process of the terminal: the run finishes its step and needs its batches for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
