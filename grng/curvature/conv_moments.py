"""A of a convolution, summed over the kernel's offsets: no patches, and a sixth of the products for a kernel of 3 × 3.

A's entry for channel c at kernel entry k and channel c' at k' is Σ_t x_c[t + k] x_c'[t + k'] over the positions t.
Over *all* positions at which a window meets the picture it depends on the lag k' - k alone, of which a kernel of 3 × 3
has 25, half of them transposes of the others: 13 products instead of 81. Positions at which windows hang over the edge
further than the padding lets them are taken away again: they meet a few rows and columns of the picture only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature.layout import padded

# Measured on the layers of test_resnet and resnet18, on a CPU: with less of either the patches take less.
FEWEST_CHANNELS = 16
FEWEST_POSITIONS = 1024
LEAST_WORK = 2**26  # multiplications with patches; the shifts and corrections are some hundred calls
LARGEST_KERNEL = 3  # the corrections grow with the fourth power


def suits(module: nn.Module, inputs: Tensor, blocks: int) -> bool:
    """Whether A is to be had so, and sooner than from patches.

    Args:
        module: The layer.
        inputs: Its input, `[batch, in, h, w]`.
        blocks: Into how many diagonal blocks A is cut.
    """
    if not isinstance(module, nn.Conv2d) or inputs.dim() != 4 or module.stride != (1, 1) or module.dilation != (1, 1):
        return False
    if inputs.device.type != "cpu" or module.kernel_size == (1, 1) or max(module.kernel_size) > LARGEST_KERNEL:
        return False
    batch, channels, height, width = inputs.shape
    parts, positions = module.groups * blocks, batch * height * width
    features = channels // parts * module.kernel_size[0] * module.kernel_size[1]
    enough = channels >= FEWEST_CHANNELS * parts and positions >= FEWEST_POSITIONS
    return enough and positions * features**2 * parts >= LEAST_WORK


def second_moment(inputs: Tensor, module: nn.Conv2d, *, with_bias: bool, blocks: int) -> tuple[Tensor, int]:
    """Sum the outer products of all patches, a 1 appended where `with_bias` and A is not cut.

    Args:
        inputs: `[batch, in, h, w]`.
        module: The layer; `suits` holds.
        with_bias: Whether the layer has a trainable bias.
        blocks: Into how many diagonal blocks A is cut.

    Returns:
        `[groups · blocks, features, features]` and the number of patches.
    """
    images, padding = padded(inputs, module)
    sum_ = _OffsetSum(images, module.kernel_size, padding, parts=module.groups * blocks)
    product = sum_.product()
    if with_bias and blocks == 1:
        product = _with_ones(product, sum_.sums(), sum_.count)
    return product, sum_.count


def _with_ones(product: Tensor, sums: Tensor, count: int) -> Tensor:
    """Append the row and column of a feature that is 1 throughout."""
    size = product.shape[-1]
    joined = product.new_empty(product.shape[0], size + 1, size + 1)
    joined[:, :size, :size] = product
    joined[:, size, :size] = sums
    joined[:, :size, size] = sums
    joined[:, size, size] = count
    return joined


class _OffsetSum:
    """The sums over one picture batch.

    Pictures are laid out row after row, with zeros behind each row and each picture, as many as the kernel is wide
    less one. A lag is then one shift along all pixels: what is shifted over an edge meets zeros.
    """

    def __init__(self, images: Tensor, kernel: tuple[int, ...], padding: tuple[int, int], *, parts: int) -> None:
        self.kernel = kernel
        self.padding = padding
        self.parts = parts
        batch, _, *size = images.shape
        self.size = size
        self.outputs = [n + 2 * pad - k + 1 for n, pad, k in zip(size, padding, kernel, strict=True)]
        self.count = batch * self.outputs[0] * self.outputs[1]
        kh, kw = kernel
        self.grid = F.pad(images.permute(0, 2, 3, 1), (0, 0, 0, kw - 1, 0, kh - 1)).contiguous()
        self.lags_h = self._lag_table(kh, images.device)
        self.lags_w = self._lag_table(kw, images.device)

    @staticmethod
    def _lag_table(kernel: int, device: torch.device) -> Tensor:
        """Return k' - k for all pairs of kernel entries along one axis, counted from 0."""
        entries = torch.arange(kernel, device=device)
        return entries[None, :] - entries[:, None] + kernel - 1

    def product(self) -> Tensor:
        """Return Σ u uᵀ over all patches u, `[parts, features, features]`."""
        kh, kw = self.kernel
        lags = self._all_lags()
        found = lags[self.lags_h[:, None, :, None], self.lags_w[None, :, None, :]]  # [kh, kw, kh, kw, parts, c, c]
        beyond_h, beyond_w = self._beyond(0), self._beyond(1)
        for t in beyond_h:
            self._take_rows(found, t)
        for t in beyond_w:
            self._take_columns(found, t)
        for t in beyond_h:  # taken away twice
            for u in beyond_w:
                self._give_corner(found, t, u)
        channels = found.shape[-1]
        return found.permute(4, 5, 0, 1, 6, 2, 3).reshape(self.parts, channels * kh * kw, channels * kh * kw)

    def sums(self) -> Tensor:
        """Return Σ u over all patches, `[parts, features]`."""
        total = self.grid.sum(dim=0)
        (kh, kw), (top, left), (high, wide) = self.kernel, self.padding, self.outputs
        by_entry = [
            total[max(0, a - top) : max(0, a - top + high), max(0, b - left) : max(0, b - left + wide)].sum(dim=(0, 1))
            for a in range(kh)
            for b in range(kw)
        ]
        return torch.stack(by_entry, dim=1).reshape(self.parts, -1)

    def _all_lags(self) -> Tensor:
        """Return the sums over all pixels by lag, `[2 kh - 1, 2 kw - 1, parts, c, c]`."""
        kh, kw = self.kernel
        pixels = self._by_part(self.grid)
        wide = self.grid.shape[2]
        channels = pixels.shape[-1]
        found = pixels.new_empty(2 * kh - 1, 2 * kw - 1, self.parts, channels, channels)
        for dh in range(kh):
            for dw in range(1 - kw, kw):
                if (dh, dw) < (0, 0):
                    continue
                product = _shifted(pixels, pixels, dh * wide + dw)
                found[kh - 1 + dh, kw - 1 + dw] = product
                found[kh - 1 - dh, kw - 1 - dw] = product.mT
        return found

    def _by_part(self, pixels: Tensor) -> Tensor:
        """Bring `[…, channels]` to `[parts, pixels, channels / parts]`."""
        channels = pixels.shape[-1]
        return pixels.reshape(-1, self.parts, channels // self.parts).transpose(0, 1)

    def _beyond(self, axis: int) -> list[int]:
        """Return the positions of windows that meet the picture, but that the convolution does not have."""
        first, last = -self.padding[axis], self.outputs[axis] - self.padding[axis] - 1
        return [t for t in range(1 - self.kernel[axis], self.size[axis]) if not first <= t <= last]

    def _entries(self, axis: int, position: int) -> Sequence[int]:
        """Return the kernel entries along `axis` that lie within the picture for a window at `position`."""
        return [k for k in range(self.kernel[axis]) if 0 <= position + k < self.size[axis]]

    def _take_rows(self, found: Tensor, position: int) -> None:
        lags = range(1 - self.kernel[1], self.kernel[1])
        for a in self._entries(0, position):
            for other in self._entries(0, position):
                row, second = (self._by_part(self.grid[:, position + k]) for k in (a, other))
                found[a, :, other] -= torch.stack([_shifted(row, second, lag) for lag in lags])[self.lags_w]

    def _take_columns(self, found: Tensor, position: int) -> None:
        lags = range(1 - self.kernel[0], self.kernel[0])
        for b in self._entries(1, position):
            for other in self._entries(1, position):
                column, second = (self._by_part(self.grid[:, :, position + k]) for k in (b, other))
                found[:, b, :, other] -= torch.stack([_shifted(column, second, lag) for lag in lags])[self.lags_h]

    def _give_corner(self, found: Tensor, row: int, column: int) -> None:
        pixels = [
            (a, b, self._by_part(self.grid[:, row + a, column + b]))
            for a in self._entries(0, row)
            for b in self._entries(1, column)
        ]
        for a, b, pixel in pixels:
            for other_a, other_b, second in pixels:
                found[a, b, other_a, other_b] += pixel.mT @ second


def _shifted(first: Tensor, second: Tensor, lag: int) -> Tensor:
    """Return Σ_q x[q] y[q + lag]ᵀ of `[parts, pixels, channels]`."""
    count = first.shape[1]
    if lag < 0:
        return first[:, -lag:].mT @ second[:, : count + lag]
    return first[:, : count - lag].mT @ second[:, lag:]
