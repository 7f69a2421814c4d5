"""What a hyperparameter is: symbol, meaning and range stand beside the type in the signature; all else is read there.

A signature such as `rho: Rho = 0.01` is the only place where a hyperparameter of an optimizer is declared. The command
line, the YAML schema, the documentation and the checks at construction are all derived from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from grng.errors import ConfigError, GrngError, HyperparameterError, suggest
from grng.optim.value_types import checked_value, type_text


@dataclass(frozen=True, slots=True)
class Meaning:
    """The annotation of a hyperparameter: its symbol in the equations, what it is, and the range of its values."""

    symbol: str
    text: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def range_text(self) -> str:
        """Return the range in words, e.g. "at least 0 and below 1"; empty where there is none."""
        parts = [
            f"{words} {bound:g}"
            for words, bound in (
                ("at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        return " and ".join(parts)

    def allows(self, value: float) -> bool:
        """Whether a finite number lies in the range."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


LearningRate = Annotated[float, Meaning("η", "step size", at_least=0)]
WeightDecay = Annotated[float, Meaning("w", "decoupled weight decay: θ ← θ − lr·w·θ", at_least=0)]
Momentum = Annotated[float, Meaning("β", "decay of the momentum; 0 for none", at_least=0, below=1)]
Rho = Annotated[float, Meaning("ρ", "strength of the gradient regularisation (ρ/2)‖∇L‖²", at_least=0)]
Damping = Annotated[float, Meaning("λ", "damping added to the Fisher matrix", above=0)]
KLClip = Annotated[
    float | None, Meaning("κ", "trust region: the step is scaled so that lr²·δᵀFδ stays below κ; none: off", above=0)
]
EMA = Annotated[
    float, Meaning("β", "decay of the moving average of the curvature: F ← βF + (1−β)F_batch", at_least=0, below=1)
]
CurvatureInterval = Annotated[int, Meaning("", "steps between updates of the curvature statistics", at_least=1)]
InverseInterval = Annotated[int, Meaning("", "steps between refreshes of the inverses (or eigenbases)", at_least=1)]
CurvatureBatch = Annotated[
    float, Meaning("f", "share of the batch that the curvature is measured on", above=0, at_most=1)
]
DampingForm = Annotated[
    Literal["factored", "exact"],
    Meaning("", "factored: (A + π√λI)⁻¹ ⊗ (G + √λ/π I)⁻¹; exact: (A ⊗ G + λI)⁻¹ through the eigenbases"),
]
EigenvalueCorrection = Annotated[
    bool, Meaning("", "EKFAC: measure the eigenvalues in the eigenbases instead of s_G s_Aᵀ; exact form only")
]
StepNorm = Annotated[
    Literal["none", "rms"],
    Meaning("", "rms: each layer's step is scaled to root-mean-square 1, so that lr is the change per step"),
]
MomentumForm = Annotated[
    Literal["gradient", "step"],
    Meaning("", "gradient: Nesterov momentum before the preconditioner; step: momentum of the preconditioned step"),
]
OtherParameters = Annotated[
    Literal["diagonal", "adamw"],
    Meaning("", "rule for what has no Kronecker factors: diagonal Fisher v/(d + λ), or AdamW with other_lr"),
]
OtherLearningRate = Annotated[
    float | None, Meaning("", "learning rate of the AdamW rule of other_parameters; none: 0.01", at_least=0)
]
Inverse = Annotated[
    Literal["auto", "newton", "cholesky", "eigh"],
    Meaning("", "how the damped factors are inverted; auto: cholesky"),
]
Fisher = Annotated[
    Literal["sampled", "exact", "empirical"],
    Meaning(
        "",
        "labels of the Fisher matrix: sampled from the model, all weighted by it, or the data's (no natural gradient)",
    ),
]
WeightSharing = Annotated[
    Literal["expand", "reduce"],
    Meaning("", "how positions that share a weight enter the factors (Eschenhagen et al. 2023)"),
]
LikelihoodName = Annotated[
    Literal["categorical", "bernoulli", "gaussian"],
    Meaning("", "a sample's loss: softmax cross-entropy, the outputs' sum of binary ones, or ½‖z − y‖²"),
]
MaxFactorSize = Annotated[
    int | None,
    Meaning("", "wider Kronecker factors are cut into equal diagonal blocks; none: no limit", at_least=1),
]
NormPower = Annotated[float, Meaning("p", "power of the gradient norm in λ_t = λ + ρ‖g‖^p", above=0)]
NormScope = Annotated[
    Literal["layer", "global"], Meaning("", "whose gradient norm regularises a layer: its own, or the whole model's")
]
NormEMA = Annotated[
    float,
    Meaning("", "decay of the moving average of ‖g‖²; 0: the present gradient's, at every step", at_least=0, below=1),
]
HVP = Annotated[
    Literal["double_backprop", "finite_difference"],
    Meaning("", "how the Hessian-vector product H g is formed; finite_difference needs a closure"),
]
RegularizeEvery = Annotated[
    int, Meaning("k", "steps between those with the term ρ H g, which is then scaled by k", at_least=1)
]
RhoWarmupSteps = Annotated[int, Meaning("", "first steps, in which ρ counts as 0", at_least=0)]
Radius = Annotated[float, Meaning("r", "radius: the gradient is taken at θ + r g/‖g‖", at_least=0)]
Betas = Annotated[
    tuple[float, float],
    Meaning("β₁, β₂", "decays of the first moment and of the second (Sophia: of the curvature)", at_least=0, below=1),
]
Gamma = Annotated[float, Meaning("γ", "scale of the curvature in m / max(γh, ε): how few entries are clipped", above=0)]
Epsilon = Annotated[float, Meaning("ε", "lower bound of the denominator", above=0)]
HessianInterval = Annotated[int, Meaning("k", "steps between estimates of the diagonal curvature", at_least=1)]
Nesterov = Annotated[bool, Meaning("", "Nesterov momentum")]
CoupledDecay = Annotated[
    float, Meaning("w", "L2 decay added to the gradient (torch's SGD couples it): g ← g + w·θ", at_least=0)
]


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One hyperparameter as read from a signature."""

    name: str
    annotation: Any
    default: Any
    meaning: Meaning

    @property
    def type_text(self) -> str:
        """The type in words, e.g. "a number", "a whole number or none", "one of a, b", "a pair of numbers"."""
        return type_text(self.annotation)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words of a choice; empty for a number."""
        parts = [self.annotation, *get_args(self.annotation)]  # of an optional one, too
        return next((tuple(get_args(part)) for part in parts if get_origin(part) is Literal), ())

    def check(self, value: Any) -> Any:
        """Return `value` in the right type, or raise HyperparameterError: wrong type, out of range, not finite."""
        return checked_value(self, self.annotation, value)


NOT_HYPERPARAMETERS = ("self", "model", "params", "seed")


def read_signature(
    constructor: Any, *, without: tuple[str, ...] = (), defaults: Mapping[str, Any] | None = None
) -> dict[str, Hyperparameter]:
    """Read the hyperparameters of an optimizer from its constructor's signature.

    Args:
        constructor: The class.
        without: Names that the registry row fixes.
        defaults: Defaults that the registry row sets instead of the signature's.

    Returns:
        Name to hyperparameter, in the signature's order.
    """
    hints = get_type_hints(constructor.__init__, include_extras=True)
    found: dict[str, Hyperparameter] = {}
    for name, parameter in inspect.signature(constructor).parameters.items():
        if name in NOT_HYPERPARAMETERS or name in without:
            continue
        annotation, meaning = hints[name], Meaning("", "")
        if get_origin(annotation) is Annotated:
            annotation, meaning = get_args(annotation)[:2]
        default = (defaults or {}).get(name, parameter.default)
        found[name] = Hyperparameter(name, annotation, default, meaning)
    return found


def check_values(
    hyperparameters: Mapping[str, Hyperparameter], given: Mapping[str, Any], *, owner: str
) -> dict[str, Any]:
    """Check given values one by one and fill in the defaults.

    Raises:
        HyperparameterError: An unknown name (with the nearest), a wrong type, or a value out of range.
        ConfigError: Several of these.
    """
    problems: list[GrngError] = []
    values = {name: known.default for name, known in hyperparameters.items()}
    for name, value in given.items():
        if name not in hyperparameters:
            near = suggest(name, hyperparameters, otherwise=f"It has: {', '.join(hyperparameters)}.")
            problems.append(HyperparameterError(f"{owner} has no hyperparameter {name!r}.", where=name, hint=near))
            continue
        try:
            values[name] = hyperparameters[name].check(value)
        except HyperparameterError as error:
            problems.append(error)
    if problems:
        raise problems[0] if len(problems) == 1 else ConfigError(problems)
    return values


def checked(optimizer: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check a constructor's arguments against its own signature, and against each other (`check_together`).

    Args:
        optimizer: The class whose constructor it is.
        arguments: Its `locals()`.

    Returns:
        The hyperparameters among them, defaults that depend on others filled in.

    Raises:
        HyperparameterError: Naming the hyperparameter and what is allowed.
    """
    known = read_signature(optimizer)
    values = check_values(known, {name: arguments[name] for name in known}, owner=optimizer.__name__)
    check_together(optimizer, values)
    return fill_in(optimizer, values)


def check_together(optimizer: type, values: Mapping[str, Any]) -> None:
    """Let a class refuse values that have no effect with each other, where it has such a check (`_check_together`)."""
    check = getattr(optimizer, "_check_together", None)
    if check is not None:
        check(values)


def fill_in(optimizer: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with defaults that depend on others filled in, where a class has such (`_fill_in`)."""
    fill = getattr(optimizer, "_fill_in", None)
    return dict(values) if fill is None else dict(fill(values))


def refuse_ineffective(values: Mapping[str, Any], name: str, *, neutral: Any, because: str) -> None:
    """Raise HyperparameterError where a hyperparameter is given that has no effect with the others."""
    if values[name] != neutral:
        raise HyperparameterError(
            f"{name} has no effect with {because}; got {values[name]!r}.", where=name, hint=f"Leave {name} out."
        )
