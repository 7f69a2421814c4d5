"""Curvature from a part of the batch: the forward repeated on its first samples, instead of a pass over all of them.

A backward through the whole batch's graph costs the same however few samples its cotangent is not zero for. A forward
and an outputs-only backward of their own on a share f of the batch cost about f of theirs.

BatchNorm couples the samples of a batch, and statistics of a few samples would be others. The repeated forward
normalises with the *whole batch's* mean and variance, as measured in the forward that it repeats: without dropout it
gives that forward's own activations, its factors A are exactly those of these samples, and the gradient of one sample's
loss is well defined, since what it does to the statistics is left out. Running statistics, all other buffers and
the random state are left as they were. Dropout and stochastic depth draw masks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from grng.curvature.hooks import HookOwner
from grng.optim.hessian import autocast_dtype, random_state, set_random_state

Moments = tuple[Tensor, Tensor]  # mean and biased variance by channel


class PartialForward(HookOwner):
    """Remembers the inputs of the model's forward, and its BatchNorm layers' statistics, while `due()`.

    Args:
        model: The model.
        due: Asked at every forward.
    """

    def __init__(self, model: nn.Module, due: Callable[[], bool]) -> None:
        super().__init__(due)
        self._inputs: tuple[tuple[Any, ...], Any] | None = None
        self._seen: list[int] = []  # versions of the inputs before the forward, of the weights after it
        self._moments: dict[nn.Module, list[Moments]] = {}
        self._autocast: torch.dtype | None = None
        self._outputs: Any = None  # the node of the outputs, by which the forward is known again
        self._repeatable = True
        self.attach(model, "_begin", before=True, with_kwargs=True)
        self.attach(model, "_end")
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                self.attach(module, "_measure")

    def _listens(self) -> bool:
        return self.is_due() and torch.is_grad_enabled()

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        if self._listens():
            self.forget()
            self._inputs, self._autocast = (args, kwargs), autocast_dtype(module)
            self._seen = _versions(tree_leaves(self._inputs))

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._listens() and isinstance(output, Tensor):
            self._outputs = output.grad_fn
            self._seen += _versions(module.parameters())

    def _measure(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._listens() and module.training and args:
            # what is checkpointed runs again in the backward, with other statistics; SyncBatchNorm's are not of here
            hooked = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
            if hooked or isinstance(module, nn.SyncBatchNorm):
                self._repeatable = False
            self._moments.setdefault(module, []).append(_moments(args[0], output))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_inputs": None, "_seen": [], "_moments": {}, "_outputs": None}

    def run(self, model: nn.Module, outputs: Tensor, samples: int) -> Tensor | None:
        """Return the outputs `[samples, outputs]` for the first samples of the last forward's batch, with their graph.

        Args:
            model: The module to be called (the one inside a wrapper).
            outputs: The outputs for the whole batch.
            samples: How many samples are wanted.

        Returns:
            None where the forward cannot be repeated: the outputs are not those of the model's last one, no input has
            the batch in front, inputs or weights were changed in place since (the inputs maybe by the forward itself),
            or BatchNorm's statistics cannot be held (activation checkpointing, SyncBatchNorm).
        """
        inputs, moments, autocast, seen = self._inputs, self._moments, self._autocast, self._seen
        known = inputs is not None and self._repeatable and outputs.grad_fn is self._outputs
        known = known and seen == _versions([*tree_leaves(inputs), *model.parameters()])
        self.forget()
        if inputs is None or not known:
            return None
        batch = outputs.shape[0]
        leaves, structure = tree_flatten(inputs)
        whole = [isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == batch for leaf in leaves]
        if not any(whole):
            return None
        cut = [leaf[:samples] if has_batch else leaf for leaf, has_batch in zip(leaves, whole, strict=True)]
        args, kwargs = tree_unflatten(cut, structure)
        precision = torch.autocast(outputs.device.type, dtype=autocast, enabled=autocast is not None)
        with torch.enable_grad(), precision, _traceless(model), _fixed_statistics(moments):
            part = model(*args, **kwargs)
        return part if isinstance(part, Tensor) and part.shape[0] == samples else None

    def forget(self) -> None:
        """Forget the last forward's inputs."""
        self._inputs, self._moments, self._outputs, self._repeatable = None, {}, None, True
        self._seen = []

    def close(self) -> None:
        """Remove the hooks."""
        super().close()
        self.forget()


def _versions(values: Iterable[Any]) -> list[int]:
    """Return how often each tensor was written to; one made in inference mode does not count that."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _moments(inputs: Tensor, output: Any) -> Moments:
    """Return mean and biased variance by channel, read off the graph where the norm's node is near, else measured."""
    node: Any = output.grad_fn if isinstance(output, Tensor) else None
    for _ in range(4):  # a norm with a built-in activation has a node or two behind its own
        if node is None or node is inputs.grad_fn:
            break
        if node.name() in ("NativeBatchNormBackward0", "CudnnBatchNormBackward0"):
            mean, scale = node._saved_result1.detach(), node._saved_result2.detach()
            eps = node._saved_eps if hasattr(node, "_saved_eps") else node._saved_epsilon
            return mean, scale.square().reciprocal() - eps
        node = node.next_functions[0][0] if node.next_functions else None
    wide = inputs.detach().to(torch.promote_types(inputs.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, dim=[0, *range(2, inputs.dim())], correction=0)
    return mean, variance


@contextmanager
def _traceless(model: nn.Module) -> Iterator[None]:
    """Leave random state and buffers as they were; a buffer that did not change is not written to either.

    (The first forward's graph may hold it, as that of a BatchNorm in eval mode does.)
    """
    buffers = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
    state = random_state(model)
    try:
        yield
    finally:
        set_random_state(model, state)
        with torch.no_grad():
            for buffer, version, saved in buffers:
                if buffer._version != version:
                    buffer.copy_(saved)


@contextmanager
def _fixed_statistics(moments: Mapping[nn.Module, Sequence[Moments]]) -> Iterator[None]:
    """Let BatchNorm layers normalise with the given statistics, one pair a call of the layer."""
    own = {module: (module._buffers["running_mean"], module._buffers["running_var"]) for module in moments}
    handles = []
    for module, pairs in moments.items():
        if own[module][0] is None:  # it keeps no running statistics, and takes those of its input in eval mode too
            continue
        left = iter(pairs)

        def take_next(module: nn.Module, args: Any, left: Iterator[Moments] = left) -> None:
            pair = next(left, None)
            if pair is not None:
                module._buffers["running_mean"], module._buffers["running_var"] = pair

        handles.append(module.register_forward_pre_hook(torch.compiler.disable(take_next)))
        module.training = False
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, (mean, variance) in own.items():
            module._buffers["running_mean"], module._buffers["running_var"] = mean, variance
            module.training = True


def inner_module(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers whose own forward has effects: DistributedDataParallel, `torch.compile`."""
    wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    inner = model.module if wrapped else getattr(model, "_orig_mod", None)
    return inner_module(inner) if isinstance(inner, nn.Module) else model
