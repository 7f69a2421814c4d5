"""timm's optimizers by name."""

from __future__ import annotations

import pytest
from torch import nn

from grng.errors import HyperparameterError
from grng.optimizers import create_optimizer


def test_one_without_a_default_learning_rate_asks_for_it() -> None:
    with pytest.raises(HyperparameterError, match=r"lr: timm's sgdp has no default for it\. .*timm:sgdp\[lr="):
        create_optimizer("timm:sgdp", nn.Linear(3, 3))
    assert create_optimizer("timm:sgdp", nn.Linear(3, 3), lr=0.2).param_groups[0]["lr"] == 0.2
