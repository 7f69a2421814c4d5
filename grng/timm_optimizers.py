"""timm's optimizers under the contract of grng: same classes, same steps, `observe` and diagnostics beside them."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import get_optimizer_class, get_optimizer_info
from timm.optim import list_optimizers as list_timm

from grng.errors import GrngError, HyperparameterError
from grng.optim.contract import Contract
from grng.optim.groups import parameter_groups
from grng.optim.hessian import MathAttention, silence_create_graph_warning
from grng.optim.hyperparameters import Hyperparameter, Meaning
from grng.optim.loss_scale import scaler_state

if TYPE_CHECKING:
    from torch import nn

    from grng.optim.groups import ParamsInput

# Named by class in timm's own factory, so that its default of 0.9 must be set here too.
_TIMM_MOMENTUM = 0.9

_PAPER = re.compile(r"\b(\d{4}\.\d{4,5})\b")


def names() -> list[str]:
    """Return the names of timm's optimizers, without bitsandbytes' and APEX's, which need packages of their own."""
    listed: list[str] = [str(name) for name in list_timm()]
    return [name for name in listed if not isinstance(get_optimizer_info(name).opt_class, str)]


class TimmHyperparameter(Hyperparameter):
    """A hyperparameter of one of timm's classes: no range; the type of its default is all that can be checked."""

    @property
    def type_text(self) -> str:
        """The type of the default in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, int | float):
            return "a number"
        if isinstance(self.default, tuple):
            return f"a list of {len(self.default)} numbers"
        return "a value"

    def check(self, value: Any) -> Any:
        """Return `value` in the default's type, or raise HyperparameterError."""
        if isinstance(self.default, bool):
            good = isinstance(value, bool)
        elif isinstance(self.default, int | float):
            good = _is_number(value) or value is None
        elif isinstance(self.default, tuple):
            good = (
                isinstance(value, list | tuple)
                and len(value) == len(self.default)
                and all(_is_number(entry) or entry is None for entry in value)
            )
            value = tuple(value) if good else value
        else:
            good = True
        if not good:
            raise HyperparameterError(f"must be {self.type_text}; got {value!r}.", where=self.name)
        return value


def timm_hyperparameters(name: str) -> dict[str, Hyperparameter]:
    """Read the hyperparameters of timm's optimizer `name` from its class, with the defaults of timm's own table."""
    constructor, bound = _class_of(name)
    found: dict[str, Hyperparameter] = {}
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.default is parameter.empty:
            continue
        default = bound.get(parameter.name, parameter.default)
        if isinstance(default, torch.Tensor | torch.dtype) or callable(default):
            continue  # no value that a configuration could carry
        found[parameter.name] = TimmHyperparameter(
            parameter.name, Any, default, Meaning("", "see timm's documentation")
        )
    return found


def about(name: str) -> dict[str, Any]:
    """Return what timm tells of its optimizer `name`, under the names that the registry's rows have."""
    constructor, _ = _class_of(name)
    source = sys.modules[constructor.__module__].__doc__ or ""
    # The class's own text first: that of its module may name the papers of others.
    papers = _PAPER.findall(constructor.__doc__ or "") or _PAPER.findall(source)
    second_order = is_second_order(name)
    return {
        "summary": get_optimizer_info(name).description,
        "equation": "see the paper",
        "kind": "second-order" if second_order else "first-order",
        "cost": "",
        "memory": "",
        "measured": "not here; result.json of a run has step_ms and optimizer_state_bytes",
        "paper": ", ".join(f"arXiv {number}" for number in dict.fromkeys(papers)) or "see timm's documentation",
        "needs": ["create_graph"] if second_order else [],
    }


def is_second_order(name: str) -> bool:
    """Whether timm's optimizer `name` differentiates twice (adahessian)."""
    return hasattr(_class_of(name)[0], "is_second_order")


def create(name: str, model: nn.Module, params: ParamsInput, values: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Make timm's optimizer `name` with the contract's methods added to its class."""
    constructor, bound = _class_of(name)
    for parameter in inspect.signature(constructor).parameters.values():
        given = {**bound, **values}.get(parameter.name)
        if _is_missing(parameter.default) and (given is None or _is_missing(given)):
            raise HyperparameterError(
                f"timm's {name} has no default for it.",
                where=parameter.name,
                hint=f"Give a value, for instance timm:{name}[{parameter.name}=0.01].",
            )
    created: Any = _kind(name)(parameter_groups(model, params), **{**bound, **values})
    created._attach_probe()
    if isinstance(created, _SecondOrder):
        silence_create_graph_warning()
        created.attention = MathAttention(model, created.second_order_due)
    optimizer: torch.optim.Optimizer = created
    return optimizer


def _is_missing(default: Any) -> bool:
    return type(default).__name__ == "_RequiredParameter"  # torch's mark of what has no default


def _refuse_processes(optimizer: Any, args: Any, kwargs: Any) -> None:
    if optimizer.processes.active:
        raise GrngError(
            f"timm:{type(optimizer).__name__.lower()} averages its Hessian-vector products over no processes.",
            where="step",
            hint="Choose sophia-h, or set optimizer.synchronise = False where every process trains a model of its own.",
        )


def _refuse_scaler(optimizer: Any, args: Any, kwargs: Any) -> None:
    if "found_inf" in vars(optimizer):
        with scaler_state(optimizer):
            raise GrngError(
                f"timm:{type(optimizer).__name__.lower()} forms its Hessian-vector products without regard to a scale.",
                where="step",
                hint="Choose sophia-h, or train in bfloat16 without a GradScaler.",
            )


@cache
def _kind(name: str) -> Any:
    """Return timm's class with the contract's methods added."""
    constructor, _ = _class_of(name)
    # the second-order ones (adahessian) have `is_second_order` themselves, and need attention without fused kernels
    contract = _SecondOrder if is_second_order(name) else _Picklable
    return type(constructor.__name__, (contract, constructor), {"__doc__": constructor.__doc__, "timm_name": name})


def _empty(name: str) -> Any:
    kind = _kind(name)
    return kind.__new__(kind)


class _Picklable(Contract):
    """What a class that no module holds needs to be pickled: it is made again by its name."""

    timm_name: str

    def __reduce__(self) -> tuple[object, ...]:
        return (_empty, (self.timm_name,), self.__getstate__())


class _SecondOrder(_Picklable):
    """What timm's adahessian lacks: attention that can be differentiated twice, and its random state in state_dict."""

    attention: MathAttention
    generator: torch.Generator
    param_groups: list[dict[str, Any]]

    def _register_probe(self) -> None:
        optimizer: Any = self
        optimizer.register_step_pre_hook(_refuse_scaler)
        optimizer.register_step_pre_hook(_refuse_processes)
        super()._register_probe()

    def __getstate__(self) -> dict[str, Any]:
        """Add what timm keeps on the parameters themselves, which copies of a parameter lack."""
        held = [p for group in self.param_groups for p in group["params"]]
        return {**super().__getstate__(), "estimates": [(p, p.hess) for p in held if hasattr(p, "hess")]}

    def state_dict(self) -> dict[str, Any]:
        """Add the generator of the Hutchinson vectors, without which a resumed run would draw others."""
        base: Any = super()
        saved: dict[str, Any] = base.state_dict()
        saved["grng"] = {"generator": self.generator.get_state()}
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned."""
        base: Any = super()
        base.load_state_dict(dict(state_dict))
        self.generator.set_state(state_dict["grng"]["generator"].cpu())

    def _copied(self) -> None:
        super()._copied()
        silence_create_graph_warning()  # the copy may be in another process
        for p, estimate in vars(self).pop("estimates"):
            p.hess = estimate

    @property
    def is_second_order(self) -> bool:
        """What timm itself answers."""
        return self.second_order_due()

    def second_order_due(self) -> bool:
        """Ask the class behind this one in the order of inheritance: timm's."""
        behind: Any = super(Contract, self)
        return bool(behind.is_second_order)

    def close(self) -> None:
        """Remove the hooks from the model."""
        self.attention.close()


def _class_of(name: str) -> tuple[type, dict[str, Any]]:
    """Return the class, and the defaults that timm's factory binds to it."""
    info = get_optimizer_info(name)
    constructor: Any = get_optimizer_class(name, bind_defaults=False)
    bound = dict(info.defaults or {})
    if info.has_momentum:
        bound.setdefault("momentum", _TIMM_MOMENTUM)
    return constructor, bound


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
