"""The rows that a layer's filter keeps, and the posterior step that they give.

A weight's state: `rows` `[k·r, entries]`, a ring of k blocks, zero where nothing was observed yet; `gram` = H Hᵀ;
`filled`, the rows of each of the k blocks; `block`, which is written next.

What is done to all layers at once is one call of torch for them, since on a CPU the calls of a small layer cost more
than its arithmetic; what reads the rows, by far the largest tensors here, reads them as seldom as can be: once for
what is new in H Hᵀ and for H V, which find them in the cache together, and once for Hᵀ times the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grng.curvature.precision import norms
from grng.optim.rkalman_rows import positive_factor

States = MutableMapping[Any, Any]

PIECE = 2**14  # columns of the rows that are read at a time


class Posterior:
    """Keeps rows by parameter, and filters vectors with them.

    Args:
        states: The optimizer's state, by parameter.
        rho: ρ.
        rows: r.
        memory: k.
    """

    def __init__(self, states: States, *, rho: float, rows: int, memory: int) -> None:
        self._states = states
        self._rho, self._rows, self._memory = rho, rows, memory
        self.failed = 0  # blocks that were not finite, and systems that could not be solved
        self.dampings: Tensor | None = None

    def steps(
        self, vectors: Mapping[nn.Parameter, Tensor], fresh: Mapping[nn.Parameter, Tensor], sizes: Sequence[int]
    ) -> dict[nn.Parameter, Tensor]:
        """Push the fresh rows and return Hᵀ (H Hᵀ + λ I)⁻¹ H V − V; −V where no row was ever observed.

        Args:
            vectors: V, in one precision.
            fresh: Rows of samples `[rows, *shape]`; a parameter without any keeps those it has.
            sizes: The samples that each row sums over.
        """
        found = {p: rows.flatten(1) for p, rows in fresh.items() if p in vectors}
        good = norms(list(found.values())).isfinite().tolist() if found else []
        self.failed += good.count(False)
        finite = {p: rows for (p, rows), fine in zip(found.items(), good, strict=True) if fine}
        scales = torch.tensor(sizes, dtype=torch.float64).rsqrt()[:, None]
        if finite:
            scales = scales.to(next(iter(finite.values())))
        products: dict[nn.Parameter, Tensor] = {}
        for p, vector in vectors.items():
            state = self._states[p]
            if p in finite:
                products[p] = self._push(state, finite[p], scales, vector.flatten())
            elif "rows" in state:
                products[p] = state["rows"] @ vector.flatten().to(state["rows"].dtype)
        weights = self._solve(products)
        return {
            p: -vector if p not in weights else _without(vector, self._states[p]["rows"], weights[p])
            for p, vector in vectors.items()
        }

    def _push(self, state: dict[str, Any], rows: Tensor, scales: Tensor, vector: Tensor) -> Tensor:
        """Overwrite the oldest block by these rows over √(group size), bring H Hᵀ up to date, and return H V."""
        if "rows" not in state:
            total = self._memory * self._rows
            state["rows"] = rows.new_zeros(total, rows.shape[1])
            state["gram"] = rows.new_zeros(total, total)
            state["filled"] = [0] * self._memory
            state["block"] = 0
        start, end = state["block"] * self._rows, (state["block"] + 1) * self._rows
        kept_rows: Tensor = state["rows"]
        products = kept_rows.new_zeros(len(kept_rows), self._rows)
        sums = kept_rows.new_zeros(len(kept_rows))
        # piece by piece, so that what is read for H Hᵀ is still in the cache for H V
        for first in range(0, rows.shape[1], PIECE):
            kept = kept_rows[:, first : first + PIECE]
            block = kept[start:end]
            torch.mul(rows[:, first : first + PIECE], scales, out=block[: len(rows)])
            block[len(rows) :] = 0.0
            products.addmm_(kept, block.mT)
            sums.addmv_(kept, vector[first : first + PIECE].to(kept.dtype))
        state["gram"][:, start:end] = products
        state["gram"][start:end] = products.mT
        state["filled"][state["block"]] = len(rows)
        state["block"] = (state["block"] + 1) % self._memory
        return sums

    def _solve(self, products: Mapping[nn.Parameter, Tensor]) -> dict[nn.Parameter, Tensor]:
        """Return (H Hᵀ + λ I)⁻¹ H V, `[k·r]` each; a parameter whose system cannot be solved is missing."""
        if not products:
            return {}
        states = [self._states[p] for p in products]
        damped = torch.stack([state["gram"] for state in states])
        diagonal = damped.diagonal(dim1=-2, dim2=-1)
        counts = torch.tensor([sum(state["filled"]) for state in states]).to(damped)
        self.dampings = self._rho * diagonal.sum(dim=-1) / counts  # ρ · mean ‖h_j‖²
        diagonal.add_(self.dampings[:, None])
        # rows that were never written are zero and, where nothing else keeps them regular, must not be singular
        diagonal.masked_fill_(diagonal == 0, 1.0)
        factors, info = torch.linalg.cholesky_ex(damped)
        good = ((info == 0) & damped.isfinite().all(dim=-1).all(dim=-1)).tolist()
        right = torch.stack(list(products.values()))[:, :, None]
        found = dict(zip(products, torch.cholesky_solve(right, factors)[:, :, 0].unbind(), strict=True))
        for p, matrix, fine in zip(products, damped, good, strict=True):
            if not fine:
                factor = positive_factor(matrix)
                if factor is None:
                    self.failed += 1
                    del found[p]
                else:
                    found[p] = torch.cholesky_solve(products[p][:, None], factor)[:, 0]
        return found


def _without(vector: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return Hᵀ w − V in the shape of V."""
    return torch.addmv(vector.flatten().to(rows.dtype), rows.mT, weights, beta=-1).reshape(vector.shape)
