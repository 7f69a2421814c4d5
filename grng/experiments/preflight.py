"""What can be found wrong before anything is written or started: by building, on the CPU, what the runs will build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grng.data.registry import dataset_info
from grng.errors import GrngError
from grng.runs.config import RunConfig


def check(configs: Iterable[RunConfig]) -> None:
    """Build the model of resolved configs, once, and the optimizer of each; try whether diagnostics can be measured.

    Args:
        configs: Of one model and one data set.

    Raises:
        GrngError: What the first run with this problem would have raised.
    """
    from grng.models import create_model
    from grng.optimizers import create_optimizer
    from grng.training.device import resolve_device
    from grng.training.order import BatchOrder
    from grng.training.seeding import preserved_rng

    model: Any = None
    for config in configs:
        if model is None:
            resolve_device(config.machine.device)
            info = dataset_info(config.dataset.name)
            BatchOrder(info.train, config.training.batch_size, seed=0)
            with preserved_rng():
                model = create_model(
                    config.model.name,
                    channels=info.channels,
                    num_classes=info.num_classes,
                    img_size=config.dataset.img_size or info.img_size,
                    **config.model.kwargs,
                )
            _try_diagnostics(config, model, info.channels, config.dataset.img_size or info.img_size, info.num_classes)
        try:
            optimizer: Any = create_optimizer(config.optimizer.name, model, **config.optimizer.hyperparameters)
        except GrngError as error:
            where = f"{config.label}: {error.where}" if error.where else config.label
            raise type(error)(error.message, where=where, hint=error.hint) from error
        close = getattr(optimizer, "close", None)
        if close is not None:
            close()


def _try_diagnostics(config: RunConfig, model: Any, channels: int, img_size: int, num_classes: int) -> None:
    """Measure on a few images of noise what the runs will measure on theirs."""
    import torch

    from grng.data.bundle import Split
    from grng.training.diagnosing import build_diagnostics

    noise = torch.randn(4, channels, img_size, img_size, generator=torch.Generator().manual_seed(0))
    build_diagnostics(config, model, Split(noise, torch.arange(4) % num_classes), torch.device("cpu"), 1)
