"""Everything that one run trains with, built from its configuration, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grng import data as datasets
from grng.data import DataBundle, Split
from grng.models import create_model
from grng.optimizers import create_optimizer
from grng.runs.config import RunConfig
from grng.runs.result import Parameters
from grng.training.clock import StepClock
from grng.training.device import resolve_device
from grng.training.diagnosing import Diagnosed, RunDiagnostics, build_diagnostics
from grng.training.evaluate import Scores, evaluate
from grng.training.memory import MemoryMeter
from grng.training.order import BatchOrder
from grng.training.pairing import BatchChain, init_sha256
from grng.training.progress import Progress
from grng.training.schedule import Schedule
from grng.training.seeding import derive, preserved_rng, rng_state, seed_global, seeded, set_rng_state
from grng.training.step import Coverage, StepOutcome, TrainableOptimizer, train_step

_PRECONDITIONERS = ("kronecker", "diagonal", "adamw", "filter")


@dataclass
class Session:
    """One run in memory; knows nothing of files. Built by `build_session`."""

    config: RunConfig
    device: torch.device
    data: DataBundle
    order: BatchOrder
    planned_steps: int
    model: nn.Module
    init_sha256: str
    optimizer: TrainableOptimizer
    schedule: Schedule
    progress: Progress
    clock: StepClock
    memory: MemoryMeter
    chain: BatchChain
    diagnostics: RunDiagnostics | None
    diagnosed: Diagnosed

    @property
    def coverage(self) -> Coverage | None:
        """Which parameter is stepped by which rule, as far as the optimizer knows by now."""
        return self.optimizer.coverage()

    @property
    def torch_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer as torch knows it."""
        return cast(torch.optim.Optimizer, self.optimizer)

    def advance(self, *, collect: bool = False, diagnose: bool = False) -> StepOutcome:
        """Do the next step. The caller records the outcome in `progress`.

        Args:
            collect: As for `train_step`.
            diagnose: Whether to measure the run's diagnostics, where it has some.
        """
        step = self.progress.step
        self.schedule.apply(step)
        if not diagnose or self.diagnostics is None:
            return self._step(step, collect=collect)
        with self.memory.aside():
            measurement = self.diagnostics.before(self.model, lambda: self._fetch(step))
            outcome = self._step(step, collect=collect)
            if outcome.finite:
                self.diagnosed = measurement.after(self.model, lambda: self._fetch(step + 1), self.diagnosed, step + 1)
                outcome = replace(outcome, diagnostics=self.diagnosed.values)
        return outcome

    def is_diagnosed(self, step: int) -> bool:
        """Whether diagnostics are due at a step, counted from 1."""
        return self.diagnostics is not None and self.diagnostics.due(step)

    def _step(self, step: int, *, collect: bool) -> StepOutcome:
        outcome = train_step(self.model, self.optimizer, lambda: self._batch(step), self.clock, collect=collect)
        self.memory.sample()
        return outcome

    def evaluate(self, split: Split) -> Scores:
        """Measure the model on a split."""
        batch_size = 2 * self.config.training.batch_size
        return evaluate(self.model, split.images, split.labels, batch_size=batch_size, device=self.device)

    def parameters(self) -> Parameters:
        """Count the model's parameters."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        coverage = self.coverage
        rules = {} if coverage is None else {rule: coverage.parameters(rule) for rule in _PRECONDITIONERS}
        return Parameters(total=sum(n for n, _ in sizes), trainable=sum(n for n, trains in sizes if trains), **rules)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, and what has been measured."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.torch_optimizer.state_dict(),
            "rng": rng_state(),
            "progress": self.progress.state_dict(),
            "clock": self.clock.state_dict(),
            "memory": self.memory.state_dict(),
            "diagnosed": self.diagnosed.state_dict(),
            "batches_sha256": self.chain.hexdigest,
            "init_sha256": self.init_sha256,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; the global generators are set too."""
        self.model.load_state_dict(state["model"])
        self.torch_optimizer.load_state_dict(state["optimizer"])
        self.progress.load_state_dict(state["progress"])
        self.clock.load_state_dict(state["clock"])
        self.memory.load_state_dict(state["memory"])
        self.diagnosed = Diagnosed(**state.get("diagnosed", {}))
        self.chain = BatchChain(state["batches_sha256"])
        self.init_sha256 = state["init_sha256"]
        set_rng_state(state["rng"])

    def close(self) -> None:
        """Take the optimizer's hooks off the model."""
        self.optimizer.close()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        self.chain.update(self.order.batch(step))
        return self._fetch(step)

    def _fetch(self, step: int) -> tuple[Tensor, Tensor]:
        indices = self.order.batch(step)
        train = self.data.train
        return train.images.index_select(0, indices).to(self.device), train.labels.index_select(0, indices).to(
            self.device
        )


def build_session(config: RunConfig) -> Session:
    """Build what a run trains with.

    The global generators are left at the start of the run's `forward` stream; whoever wants them back wraps the run
    in `preserved_rng`.

    Args:
        config: A resolved config.

    Raises:
        GrngError: If data, model, optimizer, or device cannot be had as configured.
    """
    device = resolve_device(config.machine.device)
    data = datasets.load(config.dataset.name, img_size=config.dataset.img_size)
    training = config.training
    order = BatchOrder(len(data.train), training.batch_size, seed=config.seed)
    planned_steps = _planned_steps(config, order.steps_per_epoch)
    with seeded(derive(config.seed, "init")):
        model = create_model(
            config.model.name,
            channels=data.channels,
            num_classes=data.num_classes,
            img_size=data.img_size,
            **config.model.kwargs,
        )
    init_hash = init_sha256(model.state_dict())
    model.to(device).train()
    diagnostics = build_diagnostics(config, model, data.train, device, planned_steps)
    memory = MemoryMeter(device)
    _warm_up(model, data, order, device)
    optimizer = _optimizer(config, model)
    schedule = Schedule(
        cast(torch.optim.Optimizer, optimizer), name=training.schedule, total=planned_steps, warmup=training.warmup
    )
    progress = Progress(
        steps_per_epoch=order.steps_per_epoch,
        target=training.target,
        divergence_factor=training.divergence_factor,
        divergence_patience=training.divergence_patience,
    )
    seed_global(derive(config.seed, "forward"))
    return Session(
        config=config,
        device=device,
        data=data,
        order=order,
        planned_steps=planned_steps,
        model=model,
        init_sha256=init_hash,
        optimizer=optimizer,
        schedule=schedule,
        progress=progress,
        clock=StepClock(device),
        memory=memory,
        chain=BatchChain(),
        diagnostics=diagnostics,
        diagnosed=Diagnosed(),
    )


def _optimizer(config: RunConfig, model: nn.Module) -> TrainableOptimizer:
    optimizer = create_optimizer(
        config.optimizer.name, model, seed=derive(config.seed, "optimizer"), **config.optimizer.hyperparameters
    )
    return cast(TrainableOptimizer, optimizer)


def _planned_steps(config: RunConfig, steps_per_epoch: int) -> int:
    if config.training.steps is not None:
        return config.training.steps
    assert config.training.epochs is not None, "a config has epochs or steps"
    return config.training.epochs * steps_per_epoch


def _warm_up(model: nn.Module, data: DataBundle, order: BatchOrder, device: torch.device) -> None:
    """Run one pass without a trace: what a process pays once (choosing kernels, filling pools) is in no step's time."""
    indices = order.batch(0)
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with preserved_rng():
        outputs = model(data.train.images.index_select(0, indices).to(device))
        torch.autograd.backward(F.cross_entropy(outputs, data.train.labels.index_select(0, indices).to(device)))
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
