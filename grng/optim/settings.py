"""The hyperparameters that K-FAC, RING and RENG share, as one object that checks itself."""

from __future__ import annotations

from dataclasses import dataclass

from grng.optim.base import refuse_ineffective


@dataclass(frozen=True, slots=True)
class KroneckerSettings:
    """What is not per parameter group; see the optimizers' docstrings for the meanings.

    Raises:
        HyperparameterError: A value that has no effect with the others.
    """

    kl_clip: float | None
    ema: float
    curvature_interval: int
    inverse_interval: int
    curvature_batch: float
    damping_form: str
    step_norm: str
    momentum_form: str
    other_parameters: str
    other_lr: float | None
    inverse: str
    fisher: str
    weight_sharing: str
    max_factor_size: int | None

    def __post_init__(self) -> None:
        if self.damping_form == "exact":
            refuse_ineffective("inverse", self.inverse, neutral="auto", because="damping_form=exact (eigenbases)")
        if self.step_norm == "rms":
            refuse_ineffective(
                "kl_clip", self.kl_clip, neutral=None, because="step_norm=rms, which sets the step's size"
            )
        if self.other_parameters == "diagonal":
            refuse_ineffective(
                "other_lr", self.other_lr, neutral=None, because="other_parameters=diagonal, which uses lr"
            )
