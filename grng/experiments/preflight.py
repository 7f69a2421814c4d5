"""What can be found wrong before anything is written or started: by building, on the CPU, what the runs will build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from grng.data import dataset_info, is_door
from grng.errors import GrngError
from grng.experiments.pool.slots import usable_cores
from grng.runs.config import RunConfig, replace

if TYPE_CHECKING:
    from grng.data.request import DataRequest

DataSeen = dict["DataRequest", tuple[int, int]]
"""Training pictures and classes of data sets that were opened."""

ABSENT = "dataset.data_dir"
"""Where an error is about data that is not there."""


def undownloading(config: RunConfig) -> RunConfig:
    """Return `config` so that nothing is downloaded: no data, and fresh weights in place of pretrained ones."""
    model = replace(config.model, **config.model.undownloaded())
    return replace(config, model=model, dataset=replace(config.dataset, download=False))


def check_machine(config: RunConfig) -> None:
    """Check that a run's device is there, that it knows the run's precision, and that models can be compiled for it.

    Raises:
        GrngError: One of these is not so.
    """
    from grng.training.device import resolve_device
    from grng.training.precision import Precision
    from grng.training.warmup import check_compiler

    device = resolve_device(config.machine.device)
    Precision(config.training.precision, device)
    if config.machine.compile:
        check_compiler(device)


def check(
    configs: Iterable[RunConfig], *, download: bool = True, seen: DataSeen | None = None, here: bool = True
) -> tuple[str, ...]:
    """Build the model of resolved configs, once, and the optimizer of each; try whether diagnostics can be measured.

    Args:
        configs: Of one model and one data set.
        download: Whether data and pretrained weights may be fetched; if not, data that is not there leaves the rest
            unchecked, and the model is built with fresh weights.
        seen: Data sets that need not be opened again; added to.
        here: Whether the runs will be on a device of this machine; if not, it is not looked at.

    Returns:
        Lines on the model: weights loaded, what is frozen.

    Raises:
        GrngError: What the first run with this problem would have raised.
    """
    from grng.models import prepare_model
    from grng.models.param_groups import parameter_groups
    from grng.optimizers import create_optimizer
    from grng.training.order import BatchOrder
    from grng.training.seeding import preserved_rng

    model: Any = None
    notes: tuple[str, ...] = ()
    for config in configs:
        if model is None:
            if here:
                check_machine(config)
            try:
                count, channels, num_classes = _data(
                    config if download else undownloading(config), {} if seen is None else seen
                )
            except GrngError as error:
                if download or error.where != ABSENT:
                    raise
                return notes
            BatchOrder(count, config.training.batch_size, seed=0)
            with preserved_rng():
                prepared = prepare_model(
                    **(config.model.arguments() if download else config.model.undownloaded()),
                    channels=channels,
                    num_classes=num_classes,
                    img_size=config.dataset.img_size or 0,
                )
            model, notes = prepared.model, prepared.notes
            _try_diagnostics(config, model, channels, config.dataset.img_size or 0, num_classes)
        training, hyperparameters = config.training, config.optimizer.hyperparameters
        try:
            groups = parameter_groups(
                model, hyperparameters, layer_decay=training.layer_decay, no_decay=training.no_decay
            )
            optimizer: Any = create_optimizer(config.optimizer.name, model, params=groups, **hyperparameters)
        except GrngError as error:
            where = f"{config.label}: {error.where}" if error.where else config.label
            raise type(error)(error.message, where=where, hint=error.hint) from error
        close = getattr(optimizer, "close", None)
        if close is not None:
            close()
    return notes


def _data(config: RunConfig, seen: DataSeen) -> tuple[int, int, int]:
    """Return training samples, channels and classes of the data set, decoding no picture that need not be."""
    if not is_door(config.dataset.name):
        info = dataset_info(config.dataset.name)
        return info.train, info.channels, info.num_classes
    from grng.data.opening import describe
    from grng.runs.picture_settings import data_request

    request = data_request(config, threads=len(usable_cores()))
    if request not in seen:
        seen[request] = describe(request)
    count, num_classes = seen[request]
    return count, request.geometry.channels, num_classes


def _try_diagnostics(config: RunConfig, model: Any, channels: int, img_size: int, num_classes: int) -> None:
    """Measure on a few images of noise what the runs will measure on theirs."""
    import torch

    from grng.training.diagnosing import build_diagnostics
    from grng.training.loss import Loss, LossName

    noise = torch.randn(4, channels, img_size, img_size, generator=torch.Generator().manual_seed(0))
    loss = Loss(cast(LossName, config.training.loss))
    targets = loss.targets(torch.arange(4) % num_classes, num_classes)
    build_diagnostics(config, model, lambda indices: (noise[indices], targets[indices]), 4, torch.device("cpu"), 1)
