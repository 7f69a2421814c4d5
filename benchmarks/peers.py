"""Other people's optimizers in the same benchmark: `pip install -r benchmarks/requirements.txt`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

NAMES = ("peer:muon", "peer:singd", "peer:singd_diagonal", "peer:soap", "peer:shampoo", "peer:sophiah")


class FirstOrderLoop:
    """Gives an optimizer the members that the common training loop asks for."""

    needs_closure = False

    def __init__(self, optimizer: Any, *, is_second_order: Callable[[int], bool] = lambda step: False) -> None:
        self.optimizer = optimizer
        self._second_order = is_second_order
        self._steps = 0

    @property
    def is_second_order(self) -> bool:
        """Whether this step's backward keeps its graph."""
        return self._second_order(self._steps)

    @property
    def state(self) -> Any:
        """The optimizer's state."""
        return self.optimizer.state

    def observe(self, outputs: Any, targets: Any) -> None:
        """Nothing: these optimizers take everything from hooks and gradients."""

    def step(self, closure: Any = None) -> None:
        """Step the optimizer."""
        self.optimizer.step()
        self._steps += 1

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()


class Float32Muon(FirstOrderLoop):
    """timm's Muon with its Newton-Schulz iteration in float32; in bfloat16, timm's, a CPU takes thrice as long."""

    def step(self, closure: Any = None) -> None:
        """Step the optimizer."""
        muon = importlib.import_module("timm.optim.muon")
        iteration = partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)
        with patch.object(muon, "zeropower_via_newtonschulz", iteration):
            super().step(closure)


def make_peer(name: str, model: nn.Module) -> FirstOrderLoop:
    """Make a peer with its defaults and the usual interval of 10.

    Raises:
        KeyError: No such peer.
        ModuleNotFoundError: Its package is not installed.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    kind = name.removeprefix("peer:")
    if kind.startswith("singd"):
        singd = importlib.import_module("singd.optim.optimizer")
        structure = "diagonal" if kind == "singd_diagonal" else "dense"
        return FirstOrderLoop(singd.SINGD(model, T=10, structures=(structure, structure)))
    if kind == "muon":
        return Float32Muon(importlib.import_module("timm.optim").create_optimizer_v2(model, opt="nmuon", lr=0.02))
    others = importlib.import_module("pytorch_optimizer")
    if kind == "soap":
        return FirstOrderLoop(others.SOAP(parameters, precondition_frequency=10))
    if kind == "shampoo":
        return FirstOrderLoop(others.ScalableShampoo(parameters, preconditioning_compute_steps=10))
    if kind == "sophiah":
        return FirstOrderLoop(others.SophiaH(parameters, update_period=10), is_second_order=lambda step: step % 10 == 0)
    raise KeyError(f"no peer {name!r}: one of {', '.join(NAMES)}")
