"""Groups of consecutive samples, over which per-sample gradients are summed to rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from grng.curvature.scratch import Scratch


@dataclass(frozen=True, slots=True)
class SampleGroups:
    """A batch cut into runs of consecutive samples; `sizes` holds how many samples each has."""

    sizes: tuple[int, ...]

    @classmethod
    def split(cls, batch: int, rows: int) -> SampleGroups:
        """Cut `batch` samples into min(rows, batch) groups: sample b goes to group ⌊b·r/B⌋.

        The sizes are equal where r divides B, and differ by at most one where it does not.
        """
        count = min(rows, batch)
        starts = [-(-group * batch // count) for group in range(count + 1)]  # ⌈j·B/r⌉
        return cls(tuple(after - before for before, after in pairwise(starts)))

    @property
    def batch(self) -> int:
        """Number of samples."""
        return sum(self.sizes)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for every size that occurs, the groups of that size `[n]` and their samples `[n, size]`."""
        starts = torch.tensor([0, *accumulate(self.sizes)][:-1])
        for size in sorted(set(self.sizes)):
            groups = torch.tensor([group for group, own in enumerate(self.sizes) if own == size])
            yield groups, starts[groups][:, None] + torch.arange(size)

    def sums(self, values: Tensor) -> Tensor:
        """Sum `[batch, ...]` over the samples of every group: `[rows, ...]`."""
        if len(set(self.sizes)) == 1:
            return values.reshape(len(self.sizes), self.sizes[0], *values.shape[1:]).sum(dim=1)
        total = values.new_empty(len(self.sizes), *values.shape[1:])
        for groups, samples in self.blocks():
            total[groups.to(values.device)] = values[samples.to(values.device)].sum(dim=1)
        return total

    def products(self, left: Tensor, right: Tensor, *, scratch: Scratch | None = None, key: Hashable = None) -> Tensor:
        """Sum the outer products of two sets of rows over the samples of every group and over shared positions.

        Args:
            left: `[layer groups, batch, shared, out]`.
            right: `[layer groups, batch, shared, features]`.
            scratch: Memory for the result, where it can be written there at once.
            key: Under which it is kept there.

        Returns:
            `[rows, layer groups, out, features]`.
        """
        layers, _, shared, out = left.shape
        features, rows = right.shape[-1], len(self.sizes)
        if len(set(self.sizes)) == 1:
            across = left.reshape(layers * rows, -1, out).mT, right.reshape(layers * rows, -1, features)
            if scratch is None:
                each = torch.bmm(*across)
            else:
                each = torch.bmm(*across, out=scratch.take(key, (layers * rows, out, features), left))
            return each.reshape(layers, rows, out, features).transpose(0, 1)
        total = left.new_empty(len(self.sizes), layers, out, features)
        for groups, samples in self.blocks():
            flat = samples.reshape(-1).to(left.device)
            length = samples.shape[1] * shared
            each = left[:, flat].reshape(layers, -1, length, out).mT @ right[:, flat].reshape(
                layers, -1, length, features
            )
            total[groups.to(left.device)] = each.transpose(0, 1)
        return total

    def mask(self, group: int, like: Tensor) -> Tensor:
        """Return `like` `[batch, ...]` with the samples of all other groups set to zero."""
        start = sum(self.sizes[:group])
        masked = torch.zeros_like(like)
        masked[start : start + self.sizes[group]] = like[start : start + self.sizes[group]]
        return masked


def merge_plan(sizes: Sequence[int], rows: int) -> list[int]:
    """Say how many neighbouring groups to add up so that about `rows` equal ones are left.

    Args:
        sizes: Samples of every group, in the order of the samples.
        rows: Most groups that may be left.

    Returns:
        Lengths of the runs of groups, at most `rows` of them; where the runs can be cut as
        `SampleGroups.split` cuts the joined batch, they are.
    """
    if len(sizes) <= rows:
        return [1] * len(sizes)
    batch = sum(sizes)
    owners = [start * rows // batch for start in [0, *accumulate(sizes)][:-1]]
    return [owners.count(owner) for owner in sorted(set(owners))]
