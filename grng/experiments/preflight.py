"""What can be found wrong before anything is written or started: by building, on the CPU, what the runs will build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grng.data import dataset_info, is_door
from grng.errors import GrngError
from grng.experiments.slots import usable_cores
from grng.runs.config import RunConfig


def check(configs: Iterable[RunConfig]) -> None:
    """Build the model of resolved configs, once, and the optimizer of each.

    Args:
        configs: Of one model and one data set.

    Raises:
        GrngError: What the first run with this problem would have raised.
    """
    from grng.models import create_model
    from grng.optimizers import create_optimizer
    from grng.training.device import resolve_device
    from grng.training.order import BatchOrder
    from grng.training.precision import Precision
    from grng.training.seeding import preserved_rng
    from grng.training.warmup import check_compiler

    model: Any = None
    for config in configs:
        if model is None:
            device = resolve_device(config.machine.device)
            Precision(config.training.precision, device)
            if config.machine.compile:
                check_compiler(device)
            count, channels, num_classes = _data(config)
            BatchOrder(count, config.training.batch_size, seed=0)
            with preserved_rng():
                model = create_model(
                    config.model.name,
                    channels=channels,
                    num_classes=num_classes,
                    img_size=config.dataset.img_size or 0,
                    **config.model.kwargs,
                )
        try:
            optimizer: Any = create_optimizer(config.optimizer.name, model, **config.optimizer.hyperparameters)
        except GrngError as error:
            where = f"{config.label}: {error.where}" if error.where else config.label
            raise type(error)(error.message, where=where, hint=error.hint) from error
        close = getattr(optimizer, "close", None)
        if close is not None:
            close()


def _data(config: RunConfig) -> tuple[int, int, int]:
    """Return training samples, channels and classes of the data set, decoding no picture that need not be."""
    if not is_door(config.dataset.name):
        info = dataset_info(config.dataset.name)
        return info.train, info.channels, info.num_classes
    from grng.data.opening import describe
    from grng.runs.picture_settings import data_request

    request = data_request(config, threads=len(usable_cores()))
    count, num_classes = describe(request)
    return count, request.geometry.channels, num_classes
