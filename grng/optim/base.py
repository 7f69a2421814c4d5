"""What the optimizers with curvature share: the model they watch, `observe`, a generator, a complete `state_dict`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, overload

import torch
from torch import Tensor, nn

from grng.curvature.likelihood import LIKELIHOODS
from grng.curvature.precision import norms, wide
from grng.curvature.reach import may_depend_on
from grng.errors import GrngError
from grng.optim.contract import Contract
from grng.optim.fisher import pad_batch
from grng.optim.groups import check_groups
from grng.optim.hessian import free_graph
from grng.optim.loss_scale import SkippedSecondPass, SkippedStep, scaler_state, skips, unscaled_closure
from grng.optim.outputs_pass import gradients_of_outputs


class CurvatureOptimizer(Contract, torch.optim.Optimizer, ABC):
    """Base of the optimizers that observe the model's outputs.

    Args:
        model: The model that is trained.
        groups: Parameter groups, ready for `torch.optim.Optimizer`.
        defaults: Defaults of the groups.
        likelihood: `categorical`, `bernoulli` or `gaussian`.
        seed: Seed of the optimizer's own generator (sampled labels, Hutchinson vectors); kept in `state_dict`.
    """

    def __init__(
        self, model: nn.Module, groups: list[dict[str, Any]], defaults: dict[str, Any], *, likelihood: str, seed: int
    ) -> None:
        self.model = model
        self.likelihood = LIKELIHOODS[likelihood]
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        self.samples = 0  # of this step, over its micro-batches
        self._placed = 0  # how often this step's micro-batches were placed in the joined batch
        self.suspended = False  # while the optimizer itself runs the model (finite differences)
        self.skipped_steps = 0  # steps whose gradient was not finite
        self._scaler_asked = False  # by a GradScaler, which then steps, or skips the step
        check_groups(type(self), groups, defaults)
        super().__init__(groups, defaults)
        self._attach_probe()

    # --- observation

    def observe(self, outputs: Tensor, targets: Tensor) -> None:
        """Observe one (micro-)batch: to be called after the forward and before the backward, in training mode.

        Args:
            outputs: The model's outputs with their graph, `[batch, outputs]`.
            targets: Class indices `[batch]`, probabilities or regression targets `[batch, outputs]`.

        Raises:
            GrngError: Shapes that do not fit the likelihood, outputs without a graph, a model in eval mode, or a
                backward that came first and freed the graph. (Where curvature is measured on a share of the batch,
                in a forward of the optimizer's own, it does not matter which came first.)
        """
        if self.suspended:
            return
        if "param_groups" not in vars(self):  # Lightning's wrapper imitates the class and would keep the counts itself
            raise GrngError(
                f"observe was called on {type(self).__name__}, which wraps the optimizer.",
                where="observe",
                hint="Call it on the optimizer itself: in Lightning self.optimizers(use_pl_optimizer=False).",
            )
        if not isinstance(outputs, Tensor):
            raise GrngError(
                f"observe got a {type(outputs).__name__} where it needs the outputs as a tensor.",
                where="observe",
                hint="Pass the logits themselves, for instance outputs.logits or outputs[0].",
            )
        if self._scaler_asked:  # and did not step: what was observed for that step is of no more use
            self.skipped_steps += 1
            self._forget_observed()
        # values are looked at where they matter: to read them the device must be waited for
        self.likelihood.check(outputs, targets, values=self._needs_outputs())
        if not self.model.training:
            raise GrngError(
                "observe was called with the model in eval mode.",
                where="observe",
                hint="Call model.train() before the forward.",
            )
        if outputs.grad_fn is None:
            raise GrngError(
                "observe got outputs without a graph.",
                where="observe",
                hint="Pass the model's own outputs, not detached and not under no_grad.",
            )
        if not may_depend_on(outputs, [p for group in self.param_groups for p in group["params"]]):
            raise GrngError(
                "observe got outputs that depend on none of the optimizer's parameters.",
                where="observe",
                hint="Pass the outputs of the model that the optimizer was made for (a copied optimizer has a model of "
                "its own, unless both were copied together: copy.deepcopy((model, optimizer))).",
            )
        self.samples += outputs.shape[0]
        # curvature is kept in float32 or better, also where the caller's autocast is still on
        kind = outputs.device.type
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            self._observe(outputs, targets)

    @abstractmethod
    def _observe(self, outputs: Tensor, targets: Tensor) -> None:
        """Measure what the coming step needs, with autocast off."""

    def gradients_of_outputs(
        self, outputs: Tensor, inputs: list[Any], cotangent: Tensor, *, batched: bool = False
    ) -> tuple[Tensor | None, ...]:
        """Return Σ_b (∂z_b/∂input)ᵀ cotangent_b for parameters or edges, keeping the graph for the user's backward.

        With `batched`, `cotangent` has one more dimension in front, and so has every result.
        """
        return gradients_of_outputs(outputs, inputs, cotangent, batched=batched)

    def uniforms(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Draw uniforms in [0, 1), float64, from the optimizer's own generator (on the CPU, so that devices agree).

        The first dimension of `shape` are the samples: every process draws for the joined batch, and takes its own.
        """
        total, own = self.place_in_batch(shape[0])
        return torch.rand((total, *shape[1:]), generator=self.generator, dtype=torch.float64)[own].to(device)

    def place_in_batch(self, samples: int) -> tuple[int, slice]:
        """Return the size of the joined micro-batch to which `samples` belong, and where they stand in it.

        Raises:
            GrngError: Another process had fewer micro-batches and is at its step already.
        """
        self._placed += 1
        return self.processes.share(samples)

    def sampled_cotangent(self, outputs: Tensor, share: float = 1.0) -> tuple[Tensor, int]:
        """Return ∂ℓ_b/∂z_b for labels drawn from the model, and for how many samples.

        It is zero beyond the first ⌈share · batch⌉ samples.
        """
        measured = wide(outputs.detach())[: math.ceil(share * outputs.shape[0])]
        draws = self.uniforms(self.likelihood.noise_shape(measured), outputs.device)
        return pad_batch(self.likelihood.sampled_gradient(measured, draws), outputs.shape[0]), measured.shape[0]

    def join_samples(self) -> None:
        """Make `samples` the number of samples in all processes; once a step."""
        self.samples = round(self.processes.totals([self.samples])[0])

    def _needs_outputs(self) -> bool:
        """Whether the coming step measures anything on the outputs."""
        return True

    def require_observed(self) -> None:
        """Raise where the step needs the outputs and `observe` was not called for it."""
        if self._needs_outputs() and self.samples == 0:
            raise GrngError(
                f"{type(self).__name__}.step needs this step's curvature, and observe was not called.",
                where="step",
                hint="Call optimizer.observe(outputs, targets) after the forward and before loss.backward().",
            )

    def forget(self) -> None:
        """Forget what was observed for the coming step, e.g. when that step is skipped."""
        self._forget_observed()
        self._forget_forward()

    def _forget_observed(self) -> None:
        self.samples = self._placed = 0
        self._scaler_asked = False
        self._forget()

    def _forget(self) -> None:
        """Forget what a subclass gathered in `observe`."""

    def _forget_forward(self) -> None:
        """Forget what a subclass recorded of the last forward."""

    def _copied(self) -> None:
        super()._copied()
        self.forget()

    # --- torch's interface

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step.

        Args:
            closure: Recomputes loss and gradients of the same batch. Where `needs_closure` holds it is called at the
                perturbed weights; elsewhere, as in torch, it is called once before the step.

        Raises:
            GrngError: `observe` was not called for this step, or a closure is needed and missing.
        """
        with scaler_state(self):
            return self._scaled_step(unscaled_closure(self, closure))

    def _scaled_step(self, closure: Callable[[], float] | None) -> float | None:
        loss = None
        if closure is not None and not self.needs_closure:
            with torch.enable_grad():
                loss = closure()
        self.require_observed()
        try:
            with torch.no_grad():
                if self._placed:
                    self.processes.begin_step()
                self.average_gradients()
                if skips(self):
                    raise SkippedStep
                if self._gradient_is_finite():
                    self._step(closure)
                else:
                    # one bad batch must poison neither the moving averages nor the weights
                    self.skipped_steps += 1
                    free_graph(self.model)
            self.steps += 1
        except SkippedStep as skipped:  # of the scaler's own doing: the next step takes this one's place
            self.skipped_steps += 1
            self.steps += isinstance(skipped, SkippedSecondPass)
            free_graph(self.model)
        finally:
            self.forget()
        return loss

    def _unscales(self) -> bool:
        self._scaler_asked = True  # it now steps or, after an overflow, does not
        return super()._unscales()

    def _gradient_is_finite(self) -> bool:
        gradients = [p.grad.detach() for group in self.param_groups for p in group["params"] if p.grad is not None]
        return not gradients or bool(norms(gradients).isfinite().all())

    @abstractmethod
    def _step(self, closure: Callable[[], float] | None) -> None:
        """Take the step; the gradients are finite."""

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state_dict with `grng` beside it: the step count, the generator's state, counters."""
        saved: dict[str, Any] = super().state_dict()
        saved["grng"] = {
            "steps": self.steps,
            "skipped_steps": self._skipped(),
            "generator": self.generator.get_state(),
            **self._extra_state(),
        }
        return saved

    def diagnostics(self) -> dict[str, float]:
        """Return plain floats of the last step with `collect_diagnostics` set, and how many steps were skipped."""
        return {**super().diagnostics(), "skipped_steps": float(self._skipped())}

    def _skipped(self) -> int:
        """Return `skipped_steps`, and the last step too where a GradScaler left it out."""
        return self.skipped_steps + self._scaler_asked

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; tensors keep the precision in which they were saved."""
        super().load_state_dict(dict(state_dict))
        # torch casts state to the parameter's dtype, which would round float32 factors of a half-precision model
        held = [p for group in self.param_groups for p in group["params"]]
        names = [index for group in state_dict["param_groups"] for index in group["params"]]
        for index, parameter in zip(names, held, strict=True):
            for key, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    # torch keeps AdamW's step counters on the CPU; all else belongs beside the parameter
                    device = value.device if key == "step" else parameter.device
                    self.state[parameter][key] = value.detach().clone().to(device)
        extra = dict(state_dict["grng"])
        self.forget()
        self.steps = int(extra.pop("steps"))
        self.skipped_steps = int(extra.pop("skipped_steps"))
        self.generator.set_state(extra.pop("generator").cpu())  # wherever map_location has put it
        self._load_extra_state(extra)

    def _extra_state(self) -> dict[str, Any]:
        return {}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        pass
