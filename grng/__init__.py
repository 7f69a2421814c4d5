"""grng: fair comparisons of optimizers for vision models, and gradient-regularised natural gradients.

Importing this package loads neither torch nor timm: public names are resolved at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from grng._version import __version__
from grng.errors import GrngError

if TYPE_CHECKING:
    from grng.experiments.sweeps.sweep import sweep
    from grng.experiments.workloads.compare import compare
    from grng.optim.controls import GRSGD, SAM, GRAdamW
    from grng.optim.kfac import KFAC
    from grng.optim.reng import RENG
    from grng.optim.ring import RING
    from grng.optim.rkalman import RKalman
    from grng.optim.sophia import Sophia
    from grng.optimizers import create_optimizer, list_optimizers
    from grng.training.trainer import train

_LAZY = {
    "GRAdamW": "grng.optim.controls",
    "GRSGD": "grng.optim.controls",
    "KFAC": "grng.optim.kfac",
    "RENG": "grng.optim.reng",
    "RING": "grng.optim.ring",
    "RKalman": "grng.optim.rkalman",
    "SAM": "grng.optim.controls",
    "Sophia": "grng.optim.sophia",
    "compare": "grng.experiments.workloads.compare",
    "create_optimizer": "grng.optimizers",
    "list_optimizers": "grng.optimizers",
    "sweep": "grng.experiments.sweeps.sweep",
    "train": "grng.training.trainer",
}

__all__ = [
    "GRSGD",
    "KFAC",
    "RENG",
    "RING",
    "SAM",
    "GRAdamW",
    "GrngError",
    "RKalman",
    "Sophia",
    "__version__",
    "compare",
    "create_optimizer",
    "list_optimizers",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'grng' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
