"""What a process pays once, paid before the first step: kernels are chosen, pools filled, code is compiled.

So it is in no step's time. Nothing is left of it: weights, buffers, generators and the optimizer are as before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from grng.errors import GrngError
from grng.training.clock import StepClock
from grng.training.contract import TrainableOptimizer
from grng.training.precision import Precision
from grng.training.seeding import preserved_rng
from grng.training.step import StepRules, train_step

Batch = Callable[[], tuple[Tensor, Tensor]]


def run_once(model: nn.Module, batch: Batch, rules: StepRules) -> bool:
    """Run one forward and backward on a micro-batch; return whether it left a parameter without a gradient.

    Args:
        model: The model, with no optimizer's hooks on it as yet.
        batch: Fetches images [n, c, h, w] and targets, on the model's device.
        rules: The run's.

    Raises:
        GrngError: The model has an operation that torch does not have in the run's precision.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    images, targets = (whole.chunk(rules.micro_batches)[0] for whole in batch())
    with preserved_rng():
        try:
            with rules.precision.autocast():
                loss = rules.loss(model(images), targets)
            torch.autograd.backward(loss)
        except RuntimeError as error:
            if rules.precision.name == "fp32" or "not implemented for" not in str(error):
                raise
            raise rules.precision.unavailable(error) from error
    unused = any(p.grad is None for p in model.parameters() if p.requires_grad)
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    return unused


def compile_ahead(
    model: nn.Module, compiled: nn.Module, optimizer: TrainableOptimizer, batch: Batch, rules: StepRules
) -> None:
    """Compile a model by doing one step with it, and undo the step.

    A whole step, since the optimizer's hooks are a part of what is compiled.

    Args:
        model: The model.
        compiled: What `torch.compile` made of it.
        optimizer: New, of the model.
        batch: As for `run_once`.
        rules: The run's; left with its loss scale as it was.

    Raises:
        GrngError: It cannot be compiled.
    """
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    torch_optimizer = cast(torch.optim.Optimizer, optimizer)
    before = copy.deepcopy(torch_optimizer.state_dict())
    device = next(model.parameters()).device
    trial = StepRules(
        loss=rules.loss,
        precision=Precision(rules.precision.name, device),
        micro_batches=rules.micro_batches,
        clip_grad=rules.clip_grad,
    )
    synchronised, optimizer.synchronise = optimizer.synchronise, False
    with preserved_rng():
        try:
            train_step(compiled, optimizer, batch, StepClock(device), rules=trial)
        except (GrngError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise _cannot_compile(error) from error
        finally:
            optimizer.synchronise = synchronised
    model.load_state_dict(weights)
    torch_optimizer.load_state_dict(before)
    optimizer.collect_diagnostics = False


def check_compiler(device: torch.device) -> None:
    """Raise a `GrngError` where code for a CPU is to be generated and there is no C++ compiler."""
    if device.type != "cpu":
        return
    try:  # no public way to ask
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler
    except ImportError:
        return
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise GrngError(
            "torch.compile needs a C++ compiler, and none was found that works.",
            where="machine.compile",
            hint="Install one (on Debian: apt install g++), or leave out machine.compile (--compile).",
        ) from error


def _cannot_compile(error: Exception) -> GrngError:
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return GrngError(
        f"torch.compile could not compile the model: {first.rstrip('.')}.",
        where="machine.compile",
        hint="Leave out machine.compile (--compile).",
    )
