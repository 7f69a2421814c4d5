"""BatchNorm where several processes have a part of the batch each."""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from grng.errors import GrngError
from grng.models.freezing import frozen_norms
from grng.training.distributed import World

_convert: Any = convert_sync_batchnorm  # timm's have no types


def batchnorm_together(
    model: nn.Module,
    world: World,
    device: torch.device,
    *,
    wanted: Literal["auto", True, False],
    differentiates_twice: bool,
    diagnosed: bool,
) -> tuple[nn.Module, str | None]:
    """Return the model with its BatchNorm layers made torch's SyncBatchNorm, where that is to be had, and a warning.

    SyncBatchNorm, which normalises by the joined batch, is for GPUs alone and has no second derivative. Elsewhere
    each process normalises by its own samples, and the running statistics are those of the first one.

    Args:
        model: On its device, in training mode, with nothing attached to it yet.
        world: The processes.
        device: The model's.
        wanted: `machine.sync_batchnorm`.
        differentiates_twice: Whether the optimizer does.
        diagnosed: Whether diagnostics are measured, by one process on a copy of the model.

    Raises:
        GrngError: If it is wanted and not to be had.
    """
    frozen = set(frozen_norms(model))
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module not in frozen]
    if not world.active or not norms:
        return model, None
    why = None
    if device.type != "cuda":
        why = f"torch's SyncBatchNorm does not run on {device.type}"
    elif differentiates_twice:
        why = "torch's SyncBatchNorm has no second derivative, which the optimizer needs"
    elif diagnosed:
        why = "diagnostics are measured by one process, which cannot run torch's SyncBatchNorm alone"
    if why is None and wanted is not False:
        return _convert(model), None
    if wanted is True:
        raise GrngError(
            f"{why}.", where="machine.sync_batchnorm", hint="Leave it out: each process then uses its own statistics."
        )
    reason = f" ({why})" if why else ""
    return model, (
        f"BatchNorm normalises by each process's own samples{reason}; the running statistics are the first process's."
    )
