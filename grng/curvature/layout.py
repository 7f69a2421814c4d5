"""The one layout in which all curvature is computed, written down once.

A layer's inputs and output gradients are `[groups, batch, shared, features]`:

- *groups*: 1 for Linear; a grouped convolution is so many independent layers side by side;
- *batch*: the samples;
- *shared*: the positions at which the same weight is used: tokens of a sequence, pixels of a feature map, the uses of a
  layer called several times;
- *features*: what one row of the weight meets: `in` for Linear, `in/groups * kh * kw` for Conv2d; `out/groups` on the
  output's side.

A layer's gradient as a matrix is `[groups, out/groups, features]`, with the bias as one more column at the end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear_features(values: Tensor) -> Tensor:
    """Bring a Linear's input or output gradient `[batch, ..., features]` to `[1, batch, shared, features]`."""
    return values.reshape(1, values.shape[0], -1, values.shape[-1])


def conv_patches(images: Tensor, module: nn.Conv2d) -> Tensor:
    """Cut `[batch, in, h, w]` into the kernel's patches: `[groups, batch, positions, in/groups * kh * kw]`."""
    images, padding = padded(images, module)
    if module.kernel_size == (1, 1) and padding == (0, 0):
        step_h, step_w = module.stride
        patches = images[:, :, ::step_h, ::step_w].flatten(2)
    else:
        patches = F.unfold(images, module.kernel_size, dilation=module.dilation, padding=padding, stride=module.stride)
    batch, features, positions = patches.shape
    groups = module.groups
    return patches.view(batch, groups, features // groups, positions).permute(1, 0, 3, 2)


def padded(images: Tensor, module: nn.Conv2d) -> tuple[Tensor, tuple[int, int]]:
    """Return the images, padded where zeros alike on both sides are not all, and the padding that is left to do."""
    if pads_same(module):
        return F.pad(images, _same_padding(images, module)), (0, 0)
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        # string padding can be asymmetric, and unfold pads with zeros only: pad first, as the convolution itself does
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        return F.pad(images, module._reversed_padding_repeated_twice, mode=mode), (0, 0)
    height, width = module.padding
    return images, (height, width)


def pads_same(module: nn.Module) -> bool:
    """Whether the module is timm's Conv2dSame: TensorFlow's padding, found out from each input's size."""
    return type(module).__name__ == "Conv2dSame" and type(module).__module__.startswith("timm.layers.")


def _same_padding(images: Tensor, module: nn.Conv2d) -> list[int]:
    """Return `[left, right, top, bottom]`: as many outputs as strides begin in the input, the odd pixel at the end."""
    padding: list[int] = []
    for size, kernel, step, dilation in zip(
        images.shape[-2:], module.kernel_size, module.stride, module.dilation, strict=True
    ):
        total = max((math.ceil(size / step) - 1) * step + (kernel - 1) * dilation + 1 - size, 0)
        padding = [total // 2, total - total // 2, *padding]
    return padding


def conv_gradients(gradients: Tensor, groups: int) -> Tensor:
    """Bring a Conv2d's output gradient `[batch, out, h, w]` to `[groups, batch, positions, out/groups]`."""
    batch, out = gradients.shape[:2]
    return gradients.reshape(batch, groups, out // groups, -1).permute(1, 0, 3, 2)


def join_matrix(weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Return weight and bias (or their gradients) as one matrix.

    Args:
        weight: `[out, features]` or `[out, in/groups, kh, kw]`.
        bias: `[out]`, or None for a layer without a (trainable) bias.
        groups: Number of groups of the layer.

    Returns:
        `[groups, out/groups, features]`, one column more with a bias.
    """
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    if bias is None:
        return matrix
    return torch.cat([matrix, bias.reshape(groups, -1, 1)], dim=2)


def split_matrix(matrix: Tensor, weight_shape: torch.Size, *, has_bias: bool) -> tuple[Tensor, Tensor | None]:
    """Undo `join_matrix`: a matrix to a weight of `weight_shape` and a bias `[out]` or None."""
    if not has_bias:
        return matrix.reshape(weight_shape), None
    return matrix[:, :, :-1].reshape(weight_shape), matrix[:, :, -1].reshape(-1)
