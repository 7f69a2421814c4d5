"""Where a step's time goes: the parts of our optimizers, by timers around their functions (of the benchmark only)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from grng.curvature.layers import FactorSum
from grng.optim import gather, natural
from grng.optim.base import CurvatureOptimizer
from grng.optim.natural import NaturalGradient

PARTS = ("forward", "observe", "factors", "inverse", "backward", "precondition", "update")


class Parts:
    """Seconds by part; a part measured inside of another is taken out of it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside for `name`, what other parts take within it left out."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with its time counted for `name`."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed


@contextmanager
def measured(parts: Parts) -> Iterator[None]:
    """Count factors, inverses and preconditioning of K-FAC, RING and RENG apart while this lasts."""
    wrapped = [
        (FactorSum, "add_inputs", "factors"),
        (FactorSum, "add_gradients", "factors"),
        (gather.Statistics, "fold", "factors"),
        (natural, "refresh", "inverse"),
        (natural, "direction", "precondition"),
        (CurvatureOptimizer, "gradients_of_outputs", "observe"),
        (NaturalGradient, "_vectors", "update"),
    ]
    patches = [patch.object(owner, name, parts.around(part, getattr(owner, name))) for owner, name, part in wrapped]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()
