"""From one forward's captured layers to the curvature statistics of a step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from grng.curvature.capture import Use
from grng.curvature.eigenvalues import SquaredGradients
from grng.curvature.kronecker import all_finite, update_factors
from grng.curvature.layers import FactorSum, Layer
from grng.curvature.reach import other_forward
from grng.optim.fisher import DiagonalSum, fisher_passes, move_averages

if TYPE_CHECKING:
    from grng.optim.base import CurvatureOptimizer


NOT_CALLED = "whose weight is used without calling the module"


class Statistics:
    """What `observe` gathers for the step to come, over its micro-batches."""

    def __init__(self) -> None:
        self.factors: dict[str, FactorSum] = {}
        self.squares: dict[str, SquaredGradients] = {}
        self.diagonal: dict[nn.Parameter, DiagonalSum] = {}
        self.samples = 0
        self.called: set[str] = set()  # layers whose module the caller's own forward called
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
        called: Collection[str],
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
            called: The names of the layers that the caller's own forward called: more than `uses` has, where the
                forward was repeated and took another way.
            diagonal: The parameters whose diagonal Fisher is wanted.
            fisher: `sampled`, `exact` or `empirical`.
            share: Share of the batch that is measured.
            weight_sharing: `expand` or `reduce`.
            eigenvalues: Whether per-sample gradients are kept for the correction of the eigenvalues.
        """
        passes, samples = fisher_passes(
            optimizer, outputs, targets, fisher=fisher, share=share, diagonal=bool(diagonal)
        )
        self.called |= set(called)
        batch = outputs.shape[0]
        sums: dict[str, FactorSum] = {}
        for layer in layers:
            if layer.name not in uses:
                if layer.name not in called:
                    self._absent.setdefault(layer.name, NOT_CALLED)
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
        sums = {layer.weight: self.factors.get(layer.name) for layer in layers}
        batches = {p: found for p, one in sums.items() if one is not None and (found := one.factors()) is not None}
        refused = update_factors([states[p] for p in batches], list(batches.values()), decay)
        estimates = {p: diagonal.estimate(self.samples) for p, diagonal in self.diagonal.items()}
        squares = {p: square for p, square in estimates.items() if square is not None}
        finite = [p for p, good in zip(squares, all_finite(list(squares.values())), strict=True) if good]
        move_averages([states[p] for p in finite], "fisher", [squares[p] for p in finite], decay)
        return refused

    def without_factors(self, layers: Sequence[Layer]) -> dict[Layer, str]:
        """Return the layers that were stepped by the loss, but of which this step shows no factors, and why.

        A layer that was merely not used has no gradient, or one of exact zeros, and keeps the factors that it has.
        """
        found = {}
        for layer in layers:
            total, gradient = self.factors.get(layer.name), layer.weight.grad
            if gradient is None or (total is not None and total.complete):
                continue
            if total is None and layer.name in self.called and layer.name not in self._absent:
                continue  # the repeated forward went another way
            if bool(gradient.detach().any()):
                reason = self._absent.get(layer.name, "on which the observed outputs do not depend")
                found[layer] = f"{type(layer.module).__name__} {reason}"
        return found
