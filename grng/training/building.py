"""Builds what a run trains with, in the order in which one thing needs another."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from grng.models import prepare_model
from grng.models.freezing import set_training_mode
from grng.models.param_groups import parameter_groups
from grng.optimizers import create_optimizer, differentiates_twice
from grng.runs.config import RunConfig
from grng.training.batchnorm import batchnorm_together
from grng.training.clock import StepClock
from grng.training.contract import TrainableOptimizer
from grng.training.dealing import Deal, DealtOrder
from grng.training.diagnosing import Diagnosed, build_diagnostics
from grng.training.distributed import ALONE, World
from grng.training.ema import WeightAverage
from grng.training.feed import load_data, open_feed
from grng.training.loss import Loss, LossName
from grng.training.memory import MemoryMeter
from grng.training.mixing import Mixing
from grng.training.order import BatchOrder
from grng.training.pairing import BatchChain, init_sha256
from grng.training.precision import Precision
from grng.training.preparation import Preparation, to_channels_last
from grng.training.progress import Progress
from grng.training.schedule import Schedule
from grng.training.seeding import derive, seed_global, seeded
from grng.training.session import Session
from grng.training.step import StepRules
from grng.training.warmup import check_compiler, compile_ahead, run_once


def build_session(config: RunConfig, world: World = ALONE) -> Session:
    """Build what a run trains with.

    The global generators are left at the start of the run's `forward` stream; whoever wants them back wraps the run
    in `preserved_rng`.

    Args:
        config: A resolved config.
        world: The processes that share the run's batches; nothing is exchanged with them until `Session.meet`.

    Raises:
        GrngError: If data, model, optimizer, or device cannot be had as configured.
    """
    device = world.device(config.machine.device)
    precision = Precision(config.training.precision, device)
    data = load_data(config)
    training = config.training
    order = BatchOrder(len(data.train), training.batch_size, seed=config.seed)
    planned_steps = _planned_steps(config, order.steps_per_epoch)
    with seeded(derive(config.seed, "init")):
        prepared = prepare_model(
            **config.model.arguments(), channels=data.channels, num_classes=data.num_classes, img_size=data.img_size
        )
    model = prepared.model
    init_hash = init_sha256(model.state_dict())
    set_training_mode(model.to(device))
    model, norm_warning = batchnorm_together(
        model,
        world,
        device,
        wanted=config.machine.sync_batchnorm,
        differentiates_twice=differentiates_twice(config.optimizer.name, config.optimizer.hyperparameters),
        diagnosed=bool(config.diagnostics.names),
    )
    if config.machine.channels_last:
        to_channels_last(model)
    average = None
    if training.ema is not None:
        average = WeightAverage(model, decay=training.ema, warmup=training.ema_warmup)
    deal = _deal(config, world)
    rules = StepRules(
        loss=Loss(cast(LossName, training.loss)),
        precision=precision,
        micro_batches=training.grad_accum,
        clip_grad=training.clip_grad,
        world=world,
        weight=1.0 if deal is None else deal.weight,
    )
    mixing = Mixing(config.augment, data.num_classes, seed=config.seed)
    preparation = Preparation(mixing, rules.loss, data.num_classes, config.machine.channels_last)
    whole = None
    if deal is None:
        feed = open_feed(config, data, order, device, steps=planned_steps)
    else:
        if config.diagnostics.names and world.leads:
            whole = open_feed(config, data, order, device, steps=planned_steps), preparation
        dealt = DealtOrder(order, deal, paired=mixing.pairs)
        feed = open_feed(config, data, dealt, device, steps=planned_steps)
        preparation = replace(preparation, kept=len(deal.places()))

    def pick(indices: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = feed.plain(indices)
        return images, rules.loss.targets(labels, data.num_classes)

    diagnostics = build_diagnostics(config, model, pick, len(data.train), device, planned_steps)
    memory = MemoryMeter(device)

    def first_batch() -> tuple[Tensor, Tensor]:
        return preparation(*feed.sample(), 0)

    unused = run_once(model, first_batch, rules)
    optimizer = _optimizer(config, model)
    trained = model
    if config.machine.compile:
        check_compiler(device)
        trained = cast(nn.Module, torch.compile(model))
        compile_ahead(model, trained, optimizer, first_batch, rules)
    schedule = Schedule(
        cast(torch.optim.Optimizer, optimizer),
        name=training.schedule,
        total=planned_steps,
        warmup=training.warmup,
        decay_every=training.decay_every,
        decay_rate=training.decay_rate,
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
        world=world,
        device=device,
        data=data,
        order=order,
        feed=feed,
        whole=whole,
        planned_steps=planned_steps,
        model=model,
        trained=trained,
        average=average,
        rules=rules,
        preparation=preparation,
        prepared=prepared,
        init_sha256=init_hash,
        optimizer=optimizer,
        schedule=schedule,
        progress=progress,
        clock=StepClock(device),
        memory=memory,
        chain=BatchChain(),
        diagnostics=diagnostics,
        diagnosed=Diagnosed(),
        norm_warning=norm_warning,
        unused=unused,
    )


def _deal(config: RunConfig, world: World) -> Deal | None:
    """Return this process's part of every batch; None where it is alone."""
    if not world.active:
        return None
    share = config.optimizer.hyperparameters.get("curvature_batch", 1.0)
    training = config.training
    return Deal(world.rank, world.size, training.batch_size, training.grad_accum, float(share))


def _optimizer(config: RunConfig, model: nn.Module) -> TrainableOptimizer:
    training, hyperparameters = config.training, config.optimizer.hyperparameters
    groups = parameter_groups(model, hyperparameters, layer_decay=training.layer_decay, no_decay=training.no_decay)
    seed = derive(config.seed, "optimizer")
    optimizer = create_optimizer(config.optimizer.name, model, params=groups, seed=seed, **hyperparameters)
    return cast(TrainableOptimizer, optimizer)


def _planned_steps(config: RunConfig, steps_per_epoch: int) -> int:
    if config.training.steps is not None:
        return config.training.steps
    assert config.training.epochs is not None, "a config has epochs or steps"
    return config.training.epochs * steps_per_epoch
