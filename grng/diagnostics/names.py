"""The table of diagnostics: what is known about each without loading torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

DiagnosticName = Literal[
    "hessian_max",
    "hessian_trace",
    "grad_norm",
    "step_cosine",
    "grad_correlation_consecutive",
    "grad_correlation_sample",
]


@dataclass(frozen=True, slots=True)
class DiagnosticInfo:
    """One diagnostic.

    Attributes:
        name: What the user types, and the name of the value.
        title: As a column's heading.
        unit: Of the value; "" for ratios.
        meaning: One phrase.
        hessian: Whether it needs Hessian-vector products, so a double backward of the model's operators.
        error: Name of the value that says how exact it is; None where it is exact.
        error_meaning: What that value is.
    """

    name: DiagnosticName
    title: str
    unit: str
    meaning: str
    hessian: bool = False
    error: str | None = None
    error_meaning: str = ""


_TABLE = (
    DiagnosticInfo(
        "hessian_max",
        "Hessian λmax",
        "nats",
        "largest eigenvalue of the Hessian of the sample's mean loss, by Lanczos",
        hessian=True,
        error="hessian_max_residual",
        error_meaning="an eigenvalue lies no farther from hessian_max than this",
    ),
    DiagnosticInfo(
        "hessian_trace",
        "Hessian trace",
        "nats",
        "trace of that Hessian, by Hutchinson",
        hessian=True,
        error="hessian_trace_se",
        error_meaning="its standard error",
    ),
    DiagnosticInfo("grad_norm", "gradient norm", "nats", "norm of the gradient of the sample's mean loss"),
    DiagnosticInfo("step_cosine", "cos(step, -gradient)", "", "cosine between the step and the sample's -gradient"),
    DiagnosticInfo(
        "grad_correlation_consecutive",
        "corr. of consecutive gradients",
        "",
        "Pearson correlation of the entries of this step's and the next step's mini-batch gradient",
    ),
    DiagnosticInfo(
        "grad_correlation_sample",
        "corr. with the sample's gradient",
        "",
        "Pearson correlation of the entries of the mini-batch's and the sample's gradient",
    ),
)

DIAGNOSTICS: Mapping[DiagnosticName, DiagnosticInfo] = {info.name: info for info in _TABLE}
"""Every diagnostic by name, in the order to show them."""


def value_names(names: Iterable[DiagnosticName]) -> list[str]:
    """Return the values that the diagnostics `names` give, in their order: each its own, then how exact it is."""
    infos = [DIAGNOSTICS[name] for name in names]
    return [value for info in infos for value in (info.name, info.error) if value is not None]
