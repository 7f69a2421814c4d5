"""The hyperparameters that K-FAC, RING and RENG share, as one object, and what does not go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from grng.errors import HyperparameterError
from grng.optim.hyperparameters import refuse_ineffective


@dataclass(frozen=True, slots=True)
class KroneckerSettings:
    """What is not per parameter group; see the optimizers' docstrings for the meanings."""

    kl_clip: float | None
    ema: float
    curvature_interval: int
    inverse_interval: int
    curvature_batch: float
    damping_form: str
    eigenvalue_correction: bool
    step_norm: str
    momentum_form: str
    other_parameters: str
    other_lr: float | None
    inverse: str
    fisher: str
    weight_sharing: str
    max_factor_size: int | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Take the settings out of all hyperparameters of an optimizer."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def check_kronecker(values: Mapping[str, Any]) -> None:
    """Refuse what has no effect with the others.

    Raises:
        HyperparameterError: Naming the hyperparameter and why.
    """
    if values["eigenvalue_correction"] and values["damping_form"] != "exact":
        raise HyperparameterError(
            "eigenvalue_correction=True replaces eigenvalues, which damping_form=factored does not have.",
            where="eigenvalue_correction",
            hint="Choose damping_form=exact, or leave eigenvalue_correction out.",
        )
    if values["damping_form"] == "exact":
        refuse_ineffective(values, "inverse", neutral="auto", because="damping_form=exact (eigenbases)")
    if values["step_norm"] == "rms":
        refuse_ineffective(values, "kl_clip", neutral=None, because="step_norm=rms, which sets the step's size")
    if values["other_parameters"] == "diagonal":
        refuse_ineffective(values, "other_lr", neutral=None, because="other_parameters=diagonal, which uses lr")
