"""SGD and AdamW: torch's own classes with the contract of grng beside them, so that one loop serves all optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from grng.optim import hyperparameters as hp
from grng.optim.contract import Contract
from grng.optim.groups import ParamsInput, parameter_groups
from grng.optim.hyperparameters import checked, refuse_ineffective


def check_nesterov(values: Mapping[str, Any]) -> None:
    """Refuse Nesterov momentum without momentum."""
    if values["momentum"] == 0:
        refuse_ineffective(values, "nesterov", neutral=False, because="momentum=0")


class SGD(Contract, torch.optim.SGD):
    """torch.optim.SGD.

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones.
        lr: η.
        momentum: β: m ← β m + g, θ ← θ − lr m.
        weight_decay: Coupled, as torch's SGD has it: g ← g + w θ.
        nesterov: Nesterov momentum.
        seed: Not used; there for the common signature.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.12,
        momentum: hp.Momentum = 0.95,
        weight_decay: hp.CoupledDecay = 0.0,
        nesterov: hp.Nesterov = False,
        seed: int = 0,
    ) -> None:
        checked(SGD, locals())
        super().__init__(
            parameter_groups(model, params), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        )
        self._attach_probe()

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        check_nesterov(values)


class AdamW(Contract, torch.optim.AdamW):
    """torch.optim.AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    Args:
        model: The model.
        params: Parameters or groups of the model; None for all trainable ones.
        lr: η.
        betas: β₁, β₂.
        eps: ε.
        weight_decay: Decoupled: θ ← θ − lr·w·θ.
        seed: Not used; there for the common signature.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput = None,
        *,
        lr: hp.LearningRate = 0.006,
        betas: hp.Betas = (0.9, 0.999),
        eps: hp.Epsilon = 1e-8,
        weight_decay: hp.WeightDecay = 0.01,
        seed: int = 0,
    ) -> None:
        checked(AdamW, locals())
        super().__init__(parameter_groups(model, params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self._attach_probe()
