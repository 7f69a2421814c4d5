"""Which layers of a model have Kronecker factors, which rule steps everything else, and what is observed of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from grng.curvature.coverage import Coverage
from grng.curvature.layers import find_layers
from grng.errors import GrngError
from grng.optim.gather import NOT_CALLED, Statistics
from grng.optim.groups import ParamsInput, parameter_groups
from grng.optim.refreshes import spread_refreshes
from grng.optim.settings import KroneckerSettings
from grng.optim.units import Partition, Unit, partition, scaled_other_lr
from grng.optim.watching import WatchingOptimizer


class LayerwiseOptimizer(WatchingOptimizer):
    """Watches the layers of a model and gathers their statistics; subclasses step with them.

    Args:
        model: The model.
        params: Parameters or groups of `model`; None for all trainable ones.
        defaults: Defaults of the groups.
        settings: What is not per group.
        likelihood: See `CurvatureOptimizer`.
        seed: See `CurvatureOptimizer`.
    """

    def __init__(
        self,
        model: nn.Module,
        params: ParamsInput,
        defaults: dict[str, Any],
        settings: KroneckerSettings,
        *,
        likelihood: str,
        seed: int,
    ) -> None:
        self.settings = settings
        self._statistics = Statistics()
        self._default_lr = float(defaults["lr"])
        self._excluded: dict[nn.Parameter, str] = {}  # weights of layers that turned out not to be seen by hooks
        groups = parameter_groups(model, params)
        self._partition = self._partitioned(model, [p for group in groups for p in group["params"]])
        parts = [part for group in groups for part in self._split(group)]
        super().__init__(model, parts, defaults, likelihood=likelihood, seed=seed)
        self._watch_forward(settings.curvature_batch)
        self._watch()

    # --- which parameter is stepped by which rule

    def _partitioned(self, model: nn.Module, held: Sequence[nn.Parameter]) -> Partition:
        return partition(model, held, max_factor_size=self.settings.max_factor_size, excluded=self._excluded)

    def _split(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        settings = self.settings
        return self._partition.split(
            group, other_rule=settings.other_parameters, other_lr=settings.other_lr, default_lr=self._default_lr
        )

    def _exclude(self, excluded: dict[nn.Parameter, str]) -> None:
        """Leave layers, by weight, to the other rule; a reason each. Their parameter groups stay as they are."""
        self._excluded = excluded
        self._partition = self._partitioned(self.model, [p for group in self.param_groups for p in group["params"]])
        self._watch()

    def _exclude_unseen(self, statistics: Statistics) -> None:
        """Exclude layers that the loss trains but of which no hook ever saw anything, e.g. F.linear(x, m.weight)."""
        fresh = [layer for layer in self._partition.layers if "factor_updates" not in self.state[layer.weight]]
        unseen = statistics.without_factors(fresh) if statistics.samples else {}
        if unseen:
            self._exclude({**self._excluded, **{layer.weight: reason for layer, reason in unseen.items()}})

    def _readmit_called(self, statistics: Statistics) -> None:
        """Take back layers that were excluded because they had not been called, and are called now in some process."""
        waiting = [p for p, reason in self._excluded.items() if reason.endswith(NOT_CALLED)]
        called = self.processes.any_of([self._names.get(p) in statistics.called for p in waiting])
        back = {p for p, flag in zip(waiting, called, strict=True) if flag}
        if back:
            self._exclude({p: reason for p, reason in self._excluded.items() if p not in back})

    def _held(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def _steps_itself(self, unit: Unit) -> bool:
        return unit.layer is not None or self.settings.other_parameters == "diagonal"

    def _other_group(self, group: dict[str, Any], covered: set[nn.Parameter]) -> dict[str, Any]:
        """Return what AdamW steps of a group: its own ones whole, of others the excluded layers."""
        if group["rule"] == "adamw":
            return group
        other = [p for p in group["params"] if p not in covered]
        lr = scaled_other_lr(group["lr"], other_lr=self.settings.other_lr, default_lr=self._default_lr)
        return {**group, "params": other, "lr": lr}

    def _watch(self) -> None:
        """Plan the refreshes and hook the layers."""
        # layers excluded because they were not called are still listened for
        every = find_layers(self.model, set(self._held()), max_factor_size=self.settings.max_factor_size)[0]
        modules = {layer.name: layer.module for layer in every}
        self._names = {layer.weight: layer.name for layer in every}
        self._phases = spread_refreshes(self._partition.layers, self.settings.inverse_interval)
        self._watch_layers(modules)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters of the model later; their layers get factors from the next step on."""
        if "rule" in param_group or not hasattr(self, "_probe"):  # a part of our own making, or torch's constructor
            super().add_param_group(param_group)
            return
        (group,) = parameter_groups(self.model, [param_group])
        held = [p for known in self.param_groups for p in known["params"]]
        joined = self._partitioned(self.model, held + group["params"])
        if any(0 < len(set(held) & set(unit.parameters)) < len(unit.parameters) for unit in joined.units):
            raise GrngError(
                "a layer's weight and bias must be added together: one of them is held already.",
                where="add_param_group",
                hint="Give whole layers to the constructor or to one group.",
            )
        self._partition = joined
        for part in self._split(group):
            super().add_param_group(part)
        self._watch()

    def coverage(self) -> Coverage:
        """Say for every parameter whether it has Kronecker factors, and if not, why and by which rule it is stepped."""
        return self._partition.coverage(self.model, other_rule=self.settings.other_parameters)

    # --- observation

    @property
    def curvature_due(self) -> bool:
        """Whether the coming step updates the factors."""
        return self.steps % self.settings.curvature_interval == 0

    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        if not self.curvature_due or self._capture is None:
            return
        settings, share = self.settings, self.settings.curvature_batch
        called = frozenset(self._capture.uses)
        part = self._repeated(outputs, share)
        if part is not None:
            outputs, targets, share = part, targets[: part.shape[0]], 1.0
        self._statistics.gather(
            self,
            outputs,
            targets,
            layers=self._partition.layers,
            uses=self.take_uses(),
            called=called,
            diagonal=self._diagonal_parameters(),
            fisher=settings.fisher,
            share=share,
            weight_sharing=settings.weight_sharing,
            eigenvalues=settings.eigenvalue_correction,
        )

    def _diagonal_parameters(self) -> list[nn.Parameter]:
        if self.settings.other_parameters != "diagonal":
            return []
        return [unit.key for unit in self._partition.units if unit.layer is None and unit.key.requires_grad]

    def _needs_outputs(self) -> bool:
        return self.curvature_due

    def _forget(self) -> None:
        self._statistics = Statistics()

    # --- what is saved

    def _extra_state(self) -> dict[str, Any]:
        held = [p for group in self.param_groups for p in group["params"]]
        return {"excluded": [(index, self._excluded[p]) for index, p in enumerate(held) if p in self._excluded]}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        held = [p for group in self.param_groups for p in group["params"]]
        self._exclude({held[index]: reason for index, reason in extra["excluded"]})
