"""Whether outputs can have come from parameters, and what to say where they have not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from grng.errors import GrngError


def may_depend_on(outputs: Tensor, parameters: Collection[nn.Parameter]) -> bool:
    """Return False where the graph of `outputs` leads to none of `parameters`.

    Stops at the first that it meets, which is mostly the last layer's. A custom autograd function (checkpointing,
    `torch.compile`, DistributedDataParallel) may hide what is behind it, and counts as if it led to all of them.
    """
    wanted = {id(p) for p in parameters}
    pending: list[Any] = [outputs.grad_fn]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction) or id(getattr(node, "variable", None)) in wanted:
            return True
        pending += [following for following, _ in node.next_functions]
    return False


def other_forward() -> GrngError:
    """Return the error that the outputs lead to none of the layers' uses that were recorded last."""
    return GrngError(
        "observe got outputs that are not those of the model's last forward: no layer was recorded for them.",
        where="observe",
        hint="Call observe once after each forward, with that forward's outputs, before close().",
    )
