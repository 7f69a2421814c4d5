"""What the settings of training must have in common, with each other and with the optimizer's hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError, HyperparameterError
from grng.runs.schema import Key
from grng.runs.sections import AugmentConfig, TrainingConfig

if TYPE_CHECKING:
    from grng.runs.config import RunConfig

LIKELIHOODS = {"ce": "categorical", "bce": "bernoulli", "mse": "gaussian"}
"""The likelihood whose negative logarithm a loss is."""


def resolved_loss(training: TrainingConfig) -> str:
    """Return which loss `auto` stands for: softmax cross-entropy, since every picture has one label."""
    return "ce" if training.loss == "auto" else training.loss


def check_training(training: TrainingConfig, augment: AugmentConfig) -> Iterator[tuple[Key, GrngError]]:
    """Yield what is wrong with the settings taken together, each problem with its key."""
    batch, parts = training.batch_size, training.grad_accum
    if batch % parts:
        near = min((n for n in range(1, batch + 1) if batch % n == 0), key=lambda n: (abs(n - parts), n))
        yield (
            ("training", "grad_accum"),
            GrngError(f"{parts} micro-batches do not divide a batch of {batch}.", hint=f"The nearest is {near}."),
        )
    if training.ema_warmup and training.ema is None:
        yield (
            ("training", "ema_warmup"),
            GrngError("has no effect without an average of the weights.", hint="Give its decay, training.ema (--ema)."),
        )
    if training.schedule == "step" and training.decay_every is None:
        yield (
            ("training", "schedule"),
            GrngError("the schedule 'step' needs the steps between two falls.", hint="Give training.decay_every."),
        )
    defaults = TrainingConfig.model_fields
    for name in ("decay_every", "decay_rate"):
        if training.schedule != "step" and getattr(training, name) != defaults[name].default:
            hint = "Choose training.schedule: step (--schedule step), or leave it out."
            yield ("training", name), GrngError(f"has no effect with the schedule {training.schedule!r}.", hint=hint)
    yield from _check_mixing(training, augment)


def check_processes(config: RunConfig) -> Iterator[tuple[Key, GrngError]]:
    """Yield what is wrong with the number of processes that train together, each problem with its key."""
    from grng.optimizers import TIMM_PREFIX, differentiates_twice

    count, training = config.machine.processes or 1, config.training
    if count == 1:
        return
    samples = training.batch_size // training.grad_accum
    if count > samples:
        what = "a batch" if training.grad_accum == 1 else f"each of {training.grad_accum} micro-batches"
        yield (
            ("machine", "processes"),
            GrngError(
                f"{count} processes cannot share {what} of {samples} samples.",
                hint=f"Use at most {samples}, or a larger training.batch_size (--batch-size).",
            ),
        )
    optimizer = config.optimizer
    if optimizer.name.startswith(TIMM_PREFIX) and differentiates_twice(optimizer.name, optimizer.hyperparameters):
        yield (
            ("machine", "processes"),
            GrngError(
                f"{optimizer.name} does not average its Hessian-vector products over processes.",
                hint="Use one process, or another optimizer.",
            ),
        )


def _check_mixing(training: TrainingConfig, augment: AugmentConfig) -> Iterator[tuple[Key, GrngError]]:
    mixing = [name for name in ("mixup", "cutmix") if getattr(augment, name) > 0]
    if mixing and training.batch_size % 2:
        yield (
            ("training", "batch_size"),
            GrngError(
                f"images are mixed in pairs, and a batch of {training.batch_size} is odd.",
                hint=f"Use an even number, such as {training.batch_size + 1}.",
            ),
        )
    defaults = AugmentConfig.model_fields
    for name, needed in (("mixup_prob", 1), ("mixup_switch_prob", 2)):
        if getattr(augment, name) != defaults[name].default and len(mixing) < needed:
            what = "augment.mixup or augment.cutmix" if needed == 1 else "both augment.mixup and augment.cutmix"
            yield ("augment", name), GrngError(f"has no effect without {what}.", hint="Give them, or leave it out.")


def check_optimizer(config: RunConfig, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Check that the optimizer goes with the loss and the machine's settings.

    Args:
        config: The run's.
        hyperparameters: The optimizer's, defaults filled in.

    Returns:
        The hyperparameters that follow from the loss: the likelihood, where the optimizer has one.

    Raises:
        HyperparameterError: The likelihood that was given, or any that the optimizer has, is another than the loss's.
        GrngError: The model is to be compiled, and the optimizer differentiates twice.
    """
    _check_second_order(config, hyperparameters)
    if "likelihood" not in hyperparameters:
        return {}
    loss = resolved_loss(config.training)
    wanted = LIKELIHOODS[loss]
    from grng.optimizers import hyperparameters as known

    choices = known(config.optimizer.name)["likelihood"].choices
    if choices and wanted not in choices:
        raise HyperparameterError(
            f"{config.optimizer.name} does not know the likelihood {wanted!r} of the loss {loss!r}.",
            where="likelihood",
            hint="Choose another loss or another optimizer.",
        )
    given = config.optimizer.hyperparameters.get("likelihood", wanted)
    if given != wanted:
        fitting = next((other for other, name in LIKELIHOODS.items() if name == given), None)
        hint = f"Leave it out, or set training.loss: {fitting} (--loss {fitting})." if fitting else "Leave it out."
        raise HyperparameterError(
            f"the likelihood {given!r} is not that of the loss {loss!r}, which is {wanted!r}.",
            where="likelihood",
            hint=hint,
        )
    return {"likelihood": wanted}


def _check_second_order(config: RunConfig, hyperparameters: Mapping[str, Any]) -> None:
    """Refuse double backprop where it is not to be had; the first step that needs it may come late in a run."""
    from grng.optimizers import TIMM_PREFIX, differentiates_twice

    name, compiles = config.optimizer.name, config.machine.compile
    scaled = config.training.precision == "fp16" and name.startswith(TIMM_PREFIX)
    if not (compiles or scaled) or not differentiates_twice(name, hyperparameters):
        return
    if scaled:
        raise GrngError(
            f"{name} forms its Hessian-vector products without regard to float16's loss scale.",
            hint="Choose another optimizer, or training.precision: bf16 (--precision bf16).",
        )
    if compiles:
        other = "Choose hvp=finite_difference" if "hvp" in hyperparameters else "Choose another optimizer"
        raise GrngError(
            f"{name} differentiates twice here, and a compiled model has no double backward.",
            hint=f"{other}, or leave out machine.compile (--compile).",
        )
