"""Factors wider than a limit, cut into equal diagonal blocks: correlations are kept within a block only.

A of a layer with n input features becomes blockdiag(A_1, …, A_q), each of n/q features that follow each other (whole
channels of a convolution), G likewise. Memory falls by q, an inverse's work by q². The bias of a layer whose A is cut
is a block of its own, the number 1. All blocks of a layer are damped with one λ and one π.

A layer's blocks lie one behind the other in the first dimension: `[groups · q, n/q, n/q]`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def count_blocks(features: int, unit: int, limit: int | None) -> int | None:
    """Return the smallest number of equal blocks no wider than `limit`.

    Args:
        features: Width of the whole factor, the bias left out.
        unit: Features that stay together (the kernel's area of a convolution).
        limit: Greatest width of a block; None for no limit.

    Returns:
        None where it takes blocks of less than an eighth of the limit (of a prime number of channels, say), or where
        one unit alone is wider than the limit.
    """
    if limit is None or features <= limit:
        return 1
    members = features // unit
    for blocks in range(-(-features // limit), members + 1):
        if members % blocks == 0:
            return blocks if 8 * features // blocks >= limit else None
    return None


def cut(rows: Tensor, groups: int, blocks: int) -> Tensor:
    """Bring rows `[groups, n, features]` to `[groups · blocks, n, features / blocks]`."""
    if blocks == 1:
        return rows
    count, features = rows.shape[1], rows.shape[2] // blocks
    return rows.reshape(groups, count, blocks, features).transpose(1, 2).reshape(groups * blocks, count, features)


def join(rows: Tensor, groups: int, blocks: int) -> Tensor:
    """Undo `cut`."""
    if blocks == 1:
        return rows
    count, features = rows.shape[1:]
    return rows.reshape(groups, blocks, count, features).transpose(1, 2).reshape(groups, count, blocks * features)


def times_right(matrix: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return M · blockdiag(right).

    Args:
        matrix: M, `[groups, n, features]`, a bias column behind where `right` is cut and the layer has a bias.
        right: `[groups · blocks, features / blocks, features / blocks]`.
        bias: What the bias column is multiplied with, `[groups]`; None for 1.
    """
    groups = matrix.shape[0]
    blocks = right.shape[0] // groups
    if blocks == 1:
        return torch.bmm(matrix, right)
    features = blocks * right.shape[-1]
    product = join(torch.bmm(cut(matrix[:, :, :features], groups, blocks), right), groups, blocks)
    if matrix.shape[2] == features:
        return product
    column = matrix[:, :, features:]
    return torch.cat([product, column if bias is None else column * bias[:, None, None]], dim=2)


def times_left(left: Tensor, matrix: Tensor) -> Tensor:
    """Return blockdiag(left) · M: left `[groups · blocks, out / blocks, out / blocks]`, M `[groups, out, features]`."""
    groups, out, features = matrix.shape
    return torch.bmm(left, matrix.reshape(left.shape[0], left.shape[1], features)).reshape(groups, out, features)


def by_group(values: Tensor, groups: int) -> Tensor:
    """Bring one value an entry of the blocks, `[groups · blocks, features / blocks]`, to `[groups, features]`."""
    return values.reshape(groups, -1)


def mean_eigenvalue(factor: Tensor, groups: int) -> Tensor:
    """Return the mean eigenvalue of blockdiag(factor) by group, `[groups]`."""
    return factor.diagonal(dim1=-2, dim2=-1).reshape(groups, -1).mean(dim=1)
