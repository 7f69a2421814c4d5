"""Everything that one run trains with, built from its configuration, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from grng.data.opening import PictureData
from grng.errors import GrngError
from grng.models import PreparedModel
from grng.runs.config import RunConfig
from grng.runs.result import Parameters
from grng.training.clock import StepClock
from grng.training.contract import Coverage, TrainableOptimizer
from grng.training.diagnosing import Diagnosed, RunDiagnostics
from grng.training.distributed import World
from grng.training.ema import WeightAverage
from grng.training.evaluate import Scores, evaluate_batches
from grng.training.feed import AnySplit, Data, Feed
from grng.training.memory import MemoryMeter
from grng.training.order import BatchOrder
from grng.training.pairing import BatchChain
from grng.training.preparation import Preparation
from grng.training.progress import Progress
from grng.training.schedule import Schedule
from grng.training.seeding import derive, rng_state, seed_global, set_rng_state
from grng.training.step import StepOutcome, StepRules, train_step

Whole = tuple[Feed, Preparation] | None
_PRECONDITIONERS = ("kronecker", "diagonal", "adamw", "filter")


@dataclass
class Session:
    """One run in memory; knows nothing of files. Built by `build_session`.

    `trained` is `model` as the steps call it: the same, or compiled, or wrapped for several processes. `order` is that
    of whole batches, `feed` and `preparation` give this process's part of them; `whole` gives whole ones to
    diagnostics, which the leading process measures. `unused` says whether the loss leaves out a parameter.
    """

    config: RunConfig
    world: World
    device: torch.device
    data: Data
    order: BatchOrder
    feed: Feed
    whole: Whole
    planned_steps: int
    model: nn.Module
    trained: nn.Module
    average: WeightAverage | None
    rules: StepRules
    preparation: Preparation
    prepared: PreparedModel
    init_sha256: str
    optimizer: TrainableOptimizer
    schedule: Schedule
    progress: Progress
    clock: StepClock
    memory: MemoryMeter
    chain: BatchChain
    diagnostics: RunDiagnostics | None
    diagnosed: Diagnosed
    fetched: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    norm_warning: str | None = None
    unused: bool = False

    @property
    def coverage(self) -> Coverage | None:
        """Which parameter is stepped by which rule, as far as the optimizer knows by now."""
        return self.optimizer.coverage()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of data and model, one sentence each."""
        found = self.data.warnings if isinstance(self.data, PictureData) else ()
        return found if self.norm_warning is None else (*found, self.norm_warning)

    @property
    def torch_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer as torch knows it."""
        return cast(torch.optim.Optimizer, self.optimizer)

    def meet(self) -> None:
        """Have the steps average gradients over the processes; before the first step, in all of them."""
        self.trained = self.world.parallel(self.trained, self.device, unused=self.unused)

    def advance(self, *, collect: bool = False, diagnose: bool = False) -> StepOutcome:
        """Do the next step. The caller records the outcome in `progress`.

        Args:
            collect: As for `train_step`.
            diagnose: Whether to measure the run's diagnostics, where it has some.
        """
        step = self.progress.step
        self.schedule.apply(step)
        if not diagnose or self.diagnostics is None or not self.world.leads:
            return self._step(step, collect=collect)
        fetch = self._fetch if self.whole is None else self._fetch_whole
        with self.memory.aside():
            measurement = self.diagnostics.before(self.model, lambda: fetch(step))
            outcome = self._step(step, collect=collect)
            if outcome.finite:
                self.diagnosed = measurement.after(self.model, lambda: fetch(step + 1), self.diagnosed, step + 1)
                outcome = replace(outcome, diagnostics=self.diagnosed.values)
            if self.whole is not None:
                self.whole[0].close()
        return outcome

    def is_diagnosed(self, step: int) -> bool:
        """Whether diagnostics are due at a step, counted from 1."""
        return self.diagnostics is not None and self.diagnostics.due(step)

    def _step(self, step: int, *, collect: bool) -> StepOutcome:
        if self.world.active:  # no checkpoint need then hold every process's generators
            seed_global(derive(self.config.seed, "forward", self.world.rank, step))
        outcome = train_step(
            self.trained, self.optimizer, lambda: self._batch(step), self.clock, rules=self.rules, collect=collect
        )
        if self.average is not None and outcome.finite:
            self.average.update(self.model, step + 1)
        self.memory.sample()
        return outcome

    def evaluate(self, split: AnySplit) -> Scores:
        """Measure the model on a split; where there is an average of the weights, with that."""
        model = self.model if self.average is None else self.average.model
        world = self.world
        world.spread(model.buffers())  # BatchNorm's running statistics
        batch_size = max(1, 2 * self.config.training.batch_size // (self.rules.micro_batches * world.size))
        batches = self.feed.evaluation(split, batch_size, part=slice(world.rank, None, world.size))
        return evaluate_batches(model, batches, loss=self.rules.loss, precision=self.rules.precision, world=world)

    def weights(self) -> dict[str, Any]:
        """Return the weights for a checkpoint: `model`, and `ema` where there is an average of them."""
        average = {} if self.average is None else {"ema": self.average.state_dict()}
        return {"model": self.model.state_dict(), **average}

    def parameters(self) -> Parameters:
        """Count the model's parameters."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        coverage = self.coverage
        rules = {} if coverage is None else {rule: coverage.parameters(rule) for rule in _PRECONDITIONERS}
        return Parameters(total=sum(n for n, _ in sizes), trainable=sum(n for n, trains in sizes if trains), **rules)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, and what has been measured."""
        return {
            **self.weights(),
            "precision": self.rules.precision.state_dict(),
            "optimizer": self.torch_optimizer.state_dict(),
            "rng": rng_state(),
            "progress": self.progress.state_dict(),
            "clock": self.clock.state_dict(),
            "memory": self.memory.state_dict(),
            "diagnosed": self.diagnosed.state_dict(),
            "batches_sha256": self.chain.hexdigest,
            "init_sha256": self.init_sha256,
            "data_sha256": self.data.fingerprint if isinstance(self.data, PictureData) else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; the global generators are set too.

        Raises:
            GrngError: If the pictures are no longer those that the run began with.
        """
        if isinstance(self.data, PictureData) and state.get("data_sha256") not in (None, self.data.fingerprint):
            raise GrngError(
                "the pictures are not those that this run began with: some came, went, or were given another class.",
                where="dataset.data_dir",
                hint="Do the run again from the start with --rerun.",
            )
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        self.rules.precision.load_state_dict(state.get("precision", {}))
        self.torch_optimizer.load_state_dict(state["optimizer"])
        self.progress.load_state_dict(state["progress"])
        self.clock.load_state_dict(state["clock"])
        self.memory.load_state_dict(state["memory"])
        self.diagnosed = Diagnosed(**state.get("diagnosed", {}))
        self.chain = BatchChain(state["batches_sha256"])
        self.init_sha256 = state["init_sha256"]
        set_rng_state(state["rng"])

    def close(self) -> None:
        """Take the optimizer's hooks off the model, and end what reads ahead."""
        self.optimizer.close()
        self.feed.close()
        if self.whole is not None:
            self.whole[0].close()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        self.chain.update(self.order.batch(step))
        batch = self._fetch(step)
        self.fetched.pop(step)
        return batch

    def _fetch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return a step's batch; it is kept until the step takes it, since a feed is asked for each batch in turn."""
        if step not in self.fetched:
            self.fetched[step] = self.preparation(*self.feed.batch(step), step)
        return self.fetched[step]

    def _fetch_whole(self, step: int) -> tuple[Tensor, Tensor]:
        assert self.whole is not None
        feed, preparation = self.whole
        return preparation(*feed.batch(step), step)
