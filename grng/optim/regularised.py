"""The explicit gradient regulariser that RENG and the gr-* controls share: g + ρ H g, and in which steps.

    L_G(θ) = L(θ) + (ρ/2) ‖∇L(θ)‖²,        ∇L_G = g + ρ H g

Where the loop has clipped g to c g, the step is that of c (g + ρ H g): c belongs to the vector, not to the Hessian.
`regularize_every=k` adds k ρ H g at every k-th step (0, k, 2k, …) and nothing between: on average the same term, at a
k-th of its cost. `rho_warmup_steps` leaves the term out of the first so many steps altogether (a hard switch, the
"zero-warmup" of Zhao et al. 2024, arXiv 2406.09723, who find the term harmful during a learning-rate warm-up): a ramp
would still regularise in the warm-up, and pay for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from grng.errors import GrngError
from grng.optim.contract import Contract
from grng.optim.hessian import (
    MathAttention,
    RandomStateRecorder,
    finite_difference,
    free_graph,
    silence_create_graph_warning,
)
from grng.optim.loss_scale import refuse_overflow, scaled_double_backprop


class GradientRegularised(Contract):
    """Mixin of an optimizer whose groups have a `rho`; to be placed before the optimizer in the bases.

    The optimizer has `model`, `steps` (taken so far) and `suspended`, and calls `_set_regulariser` after its own
    constructor.
    """

    model: nn.Module
    steps: int
    suspended: bool
    param_groups: list[dict[str, Any]]

    def _set_regulariser(self, *, hvp: str, regularize_every: int, rho_warmup_steps: int) -> None:
        self.hvp, self.regularize_every, self.rho_warmup_steps = hvp, regularize_every, rho_warmup_steps
        silence_create_graph_warning()
        self._attention = MathAttention(self.model, self._double_backprop_due)
        self._random_state = RandomStateRecorder(self.model, self._finite_difference_due)

    def _copied(self) -> None:
        super()._copied()
        silence_create_graph_warning()  # the copy may be in another process

    @property
    def is_second_order(self) -> bool:
        """Whether this step forms H g by double backprop."""
        return self._double_backprop_due()

    @property
    def needs_closure(self) -> bool:
        """Whether this step forms H g by a finite difference."""
        return self._finite_difference_due()

    def _regularises(self) -> bool:
        due = self.steps >= self.rho_warmup_steps and self.steps % self.regularize_every == 0
        return due and not self.suspended and any(group["rho"] > 0 for group in self.param_groups)

    def _double_backprop_due(self) -> bool:
        return self.hvp == "double_backprop" and self._regularises()

    def _finite_difference_due(self) -> bool:
        return self.hvp == "finite_difference" and self._regularises()

    def _regularised(
        self, gradients: dict[nn.Parameter, Tensor], closure: Callable[[], float] | None
    ) -> dict[nn.Parameter, Tensor]:
        """Return g + ρ H g (or g where the term is not due), and free the graph of g."""
        plain = {p: gradient.detach() for p, gradient in gradients.items()}
        try:
            product = self._hessian_product(gradients, plain, closure)
        finally:
            free_graph(self.model)
        if product is None:
            return plain
        return {p: gradient + product[p] for p, gradient in plain.items()}

    def _hessian_product(
        self,
        gradients: dict[nn.Parameter, Tensor],
        plain: dict[nn.Parameter, Tensor],
        closure: Callable[[], float] | None,
    ) -> dict[nn.Parameter, Tensor] | None:
        """Return k ρ H g; with a ρ of its own in each group k H (ρ ⊙ g), the gradient of Σ_i k (ρ_i/2)‖g_i‖²."""
        rho = {p: self.regularize_every * group["rho"] for group in self.param_groups for p in group["params"]}
        parameters, vector = list(plain), [rho[p] * gradient for p, gradient in plain.items()]
        if self.is_second_order:
            own = scaled_double_backprop(self, list(gradients.values()), parameters, vector)
            product = self.processes.averaged(own)
            refuse_overflow(product)
            return dict(zip(parameters, product, strict=True))
        if not self.needs_closure:
            return None
        if closure is None:
            raise GrngError(
                "hvp=finite_difference needs a closure that recomputes loss and gradients of the same batch.",
                where="step",
                hint="Call optimizer.step(closure) where optimizer.needs_closure holds.",
            )
        self.suspended = True
        try:
            product = finite_difference(
                parameters,
                list(plain.values()),
                vector,
                closure,
                self.model,
                self._random_state.state,
                self._random_state.autocast,
            )
        finally:
            self.suspended = False
        if self.gradient_factor != 1.0:  # c ∇L − c g is c times the difference
            product = [part / self.gradient_factor for part in product]
        refuse_overflow(product)
        return dict(zip(parameters, product, strict=True))

    def close(self) -> None:
        """Remove the hooks from the model."""
        super().close()
        self._attention.close()
        self._random_state.close()
