"""R-Kalman's hyperparameters: what they mean, which have an effect in which mode, and each mode's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from grng.errors import HyperparameterError
from grng.optim.hyperparameters import Meaning, refuse_ineffective

FilterLearningRate = Annotated[
    float | None,
    Meaning("η", "scale of the filter's gain; none: 1, observation=loss 2, with filter_scope=layer 0.0024", at_least=0),
]
FilterRho = Annotated[
    float | None,
    Meaning(
        "ρ",
        "strength of the gradient regularisation; none: 0.1, observation=loss 0.17, filter_scope=layer 0.06",
        at_least=0,
    ),
]
FilterMomentum = Annotated[
    float | None,
    Meaning(
        "β",
        "decay of the momentum; 0 for none; none: 0, observation=loss and filter_scope=layer 0.9",
        at_least=0,
        below=1,
    ),
]
FilterDecay = Annotated[
    float | None,
    Meaning("w", "decoupled weight decay: θ ← θ − lr·w·θ; none: 0", at_least=0),
]
InitialCovariance = Annotated[
    float | None,
    Meaning(
        "P₀", "initial (and largest) variance of every parameter; none: 0.14 for observation=loss, else 0.01", above=0
    ),
]
Forgetting = Annotated[
    float | None,
    Meaning(
        "γ", "fading memory: P ← P/γ before every observation; none: 0.99, observation=loss 0.9", above=0, at_most=1
    ),
]
ProcessNoise = Annotated[
    float | None, Meaning("q", "variance added to every parameter before every observation; none: 0", at_least=0)
]
NoiseEMA = Annotated[
    float | None,
    Meaning(
        "",
        "decay of the moving average of the deviance that serves as R for observation=loss; none: 0.9",
        at_least=0,
        below=1,
    ),
]
Noise = Annotated[
    float | None,
    Meaning("R", "observation noise of one sample for observation=samples with filter_scope=global; none: 1", above=0),
]
Rows = Annotated[
    int | None,
    Meaning(
        "r",
        "rows a step for observation=samples, each the sum over a group of samples, at most one a sample; "
        "none: 4, with filter_scope=global 32",
        at_least=1,
    ),
]
Memory = Annotated[
    int | None, Meaning("k", "steps whose rows a layer's filter keeps (filter_scope=layer); none: 8", at_least=1)
]
FilterBatch = Annotated[
    float | None,
    Meaning(
        "f",
        "share of the batch whose rows a layer's filter observes (filter_scope=layer); none: 0.125",
        above=0,
        at_most=1,
    ),
]
FilterScope = Annotated[
    Literal["global", "layer"] | None,
    Meaning(
        "",
        "one filter over all weights, or (observation=samples) one a layer that keeps its rows; "
        "none: layer with observation=samples, else global",
    ),
]
Covariance = Annotated[
    Literal["diagonal", "block"], Meaning("", "a variance for every entry, or one for every parameter tensor")
]
CovarianceUpdate = Annotated[
    Literal["joint", "information", "none"],
    Meaning("", "P ← P − diag(KHP); P ← P ⊘ (1 + P ⊙ diag HᵀR⁻¹H) with sampled labels; or P held"),
]
Observation = Annotated[
    Literal["loss", "samples", "outputs"],
    Meaning("", "what is observed: the batch's loss (one row), groups of samples, or every output of every sample"),
]

_FILTER: Mapping[str, Any] = {
    "lr": 1.0,
    "rho": 0.1,
    "initial_covariance": 0.01,
    "forgetting": 0.99,
    "process_noise": 0.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
}
# what is not listed for a mode has no effect in it
MODES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # searched on validation data: docs/defaults.md
        "observation=loss": {
            **_FILTER,
            "lr": 2.0,
            "rho": 0.17,
            "initial_covariance": 0.14,
            "forgetting": 0.9,
            "momentum": 0.9,
            "noise_ema": 0.9,
        },
        "observation=samples": {**_FILTER, "rows": 32, "noise": 1.0},
        "observation=outputs": _FILTER,
        "filter_scope=layer": {
            "lr": 0.0024,
            "rho": 0.06,
            "rows": 4,
            "memory": 8,
            "curvature_batch": 0.125,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "other_lr": 0.01,
        },
    }
)
# of observation=loss, from the same search
_INFORMATION: Mapping[str, Any] = {
    "lr": 0.7,
    "rho": 0.13,
    "initial_covariance": 0.006,
    "forgetting": 0.9,
    "momentum": 0.0,
}
BY_MODE = tuple(dict.fromkeys(name for defaults in MODES.values() for name in defaults))


def mode_of(values: Mapping[str, Any]) -> str:
    """Return the key of `MODES` that the given values choose."""
    return "filter_scope=layer" if scope_of(values) == "layer" else f"observation={values['observation']}"


def scope_of(values: Mapping[str, Any]) -> str:
    """Return `filter_scope`, where it is not given the one that goes with the observation."""
    scope: str | None = values["filter_scope"]
    return scope or ("layer" if values["observation"] == "samples" else "global")


def check_modes(values: Mapping[str, Any]) -> None:
    """Refuse what has no effect with the others.

    Raises:
        HyperparameterError: Naming the hyperparameter and why.
    """
    if values["filter_scope"] == "layer" and values["observation"] != "samples":
        raise HyperparameterError(
            f"filter_scope=layer keeps rows of samples, and observation={values['observation']} has none.",
            where="filter_scope",
            hint="Choose observation=samples, or leave filter_scope out.",
        )
    mode = mode_of(values)
    layer = mode == "filter_scope=layer"
    # whoever wrote neither is told where it comes from
    said = f"{mode} (the default with observation=samples)" if layer and values["filter_scope"] is None else mode
    for name in BY_MODE:
        if name not in MODES[mode]:
            refuse_ineffective(values, name, neutral=None, because=said)
    if layer:
        refuse_ineffective(values, "covariance", neutral="diagonal", because=f"{said}, which keeps rows instead")
        refuse_ineffective(values, "update", neutral="joint", because=f"{said}, which keeps rows instead")
    if mode == "observation=loss" and values["update"] == "information":
        refuse_ineffective(values, "noise_ema", neutral=None, because="update=information, which has no noise R")


def fill_modes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the mode's defaults in place of None; what has no effect stays None."""
    values = {**values, "filter_scope": scope_of(values)}
    defaults = dict(MODES[mode_of(values)])
    if mode_of(values) == "observation=loss" and values["update"] == "information":
        defaults |= _INFORMATION
        del defaults["noise_ema"]
    return {name: defaults.get(name) if value is None else value for name, value in values.items()}
