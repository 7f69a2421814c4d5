"""From one forward's captured layers to the curvature statistics of a step."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from grng.curvature.capture import Use
from grng.curvature.eigenvalues import SquaredGradients
from grng.curvature.kronecker import update_factors
from grng.curvature.layers import FactorSum, Layer
from grng.curvature.reach import other_forward
from grng.optim.fisher import DiagonalSum, fisher_passes, move_average

if TYPE_CHECKING:
    from grng.optim.base import CurvatureOptimizer


class Statistics:
    """What `observe` gathers for the step to come, over its micro-batches."""

    def __init__(self) -> None:
        self.factors: dict[str, FactorSum] = {}
        self.squares: dict[str, SquaredGradients] = {}
        self.diagonal: dict[nn.Parameter, DiagonalSum] = {}
        self.samples = 0
        self._absent: dict[str, str] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return (Statistics, ())  # a copy has no part in the graph of the step to come

    def gather(
        self,
        optimizer: CurvatureOptimizer,
        outputs: Tensor,
        targets: Tensor,
        *,
        layers: Sequence[Layer],
        uses: Mapping[str, Sequence[Use]],
        diagonal: Sequence[nn.Parameter],
        fisher: str,
        share: float,
        weight_sharing: str,
        eigenvalues: bool,
    ) -> None:
        """Add one micro-batch.

        Args:
            optimizer: Gives the likelihood and the random numbers.
            outputs: The model's outputs with their graph, `[batch, outputs]`.
            targets: The data's targets.
            layers: The layers with Kronecker factors.
            uses: What the hooks captured, by layer name.
            diagonal: The parameters whose diagonal Fisher is wanted.
            fisher: `sampled`, `exact` or `empirical`.
            share: Share of the batch that is measured.
            weight_sharing: `expand` or `reduce`.
            eigenvalues: Whether per-sample gradients are kept for the correction of the eigenvalues.
        """
        passes, samples = fisher_passes(
            optimizer, outputs, targets, fisher=fisher, share=share, diagonal=bool(diagonal)
        )
        batch = outputs.shape[0]
        sums: dict[str, FactorSum] = {}
        for layer in layers:
            if layer.name not in uses:
                self._absent.setdefault(layer.name, "whose weight is used without calling the module")
            # an input that an in-place operation has changed since is not what the layer saw
            elif not all(use.intact() for use in uses[layer.name]):
                self._absent[layer.name] = "whose input is changed in place after it"
            else:
                sums[layer.name] = self.factors.setdefault(layer.name, FactorSum(layer, weight_sharing))
                sums[layer.name].add_inputs([use.inputs for use in uses[layer.name]], batch=batch, samples=samples)
                if eigenvalues:
                    self.squares.setdefault(layer.name, SquaredGradients(layer)).samples += samples
        captured = [(name, use) for name in sums for use in uses[name]]
        reached = not layers
        for one in passes:
            asked = captured if one.for_factors else []
            wanted = diagonal if one.for_diagonal else []
            edges = [*(use.edge for _, use in asked), *wanted]
            found = optimizer.gradients_of_outputs(outputs, edges, one.cotangent) if edges else ()
            by_layer: dict[str, list[tuple[Use, Tensor]]] = {}
            for (name, use), gradient in zip(asked, found, strict=False):
                if gradient is not None:
                    by_layer.setdefault(name, []).append((use, use.restore(gradient)))
            reached = reached or bool(by_layer)
            for name, pairs in by_layer.items():
                sums[name].add_gradients([gradient for _, gradient in pairs], batch=batch, samples=samples)
                if eigenvalues:
                    self.squares[name].add(pairs, batch=batch, samples=samples)
            for p, gradient in zip(wanted, found[len(asked) :], strict=True):
                self.diagonal.setdefault(p, DiagonalSum()).add(gradient)
        if not reached:
            raise other_forward()
        self.samples += samples

    def fold(self, layers: Sequence[Layer], states: MutableMapping[Any, Any], decay: float) -> int:
        """Move the averages once, whatever the number of micro-batches; return how many factors were not finite."""
        refused = 0
        for layer in layers:
            total = self.factors.get(layer.name)
            factors = total.factors() if total is not None else None
            if factors is not None:
                refused += not update_factors(states[layer.weight], *factors, decay)
        for p, diagonal in self.diagonal.items():
            estimate = diagonal.estimate(self.samples)
            if estimate is not None:
                move_average(states[p], "fisher", estimate, decay)
        return refused

    def without_factors(self, layers: Sequence[Layer]) -> dict[Layer, str]:
        """Return the layers that were stepped by the loss, but of which this step shows no factors, and why.

        A layer that was merely not used has no gradient, or one of exact zeros, and keeps the factors that it has.
        """
        found = {}
        for layer in layers:
            total, gradient = self.factors.get(layer.name), layer.weight.grad
            if gradient is None or (total is not None and total.factors() is not None):
                continue
            if bool(gradient.detach().any()):
                reason = self._absent.get(layer.name, "on which the observed outputs do not depend")
                found[layer] = f"{type(layer.module).__name__} {reason}"
        return found
