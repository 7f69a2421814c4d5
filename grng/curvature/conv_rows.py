"""A convolution's rows of groups of samples, as the weight gradient of a grouped convolution.

Row j is the weight gradient of the samples of group j. A convolution whose channels are those of all r groups side by
side, with r times the layer's groups, has all rows for its weight gradient at once, and cuts no patches: those are as
many times the input as the kernel has entries.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from grng.curvature.layout import padded
from grng.curvature.sample_groups import SampleGroups

# Measured on test_resnet and resnet18: below so many positions in a group of samples, patches and a batched product
# take less than the rearrangements of a grouped convolution.
FEWEST_POSITIONS = 64


def suits(module: nn.Module, gradient: Tensor, groups: SampleGroups) -> bool:
    """Whether the rows are to be had so, and sooner than from patches.

    Args:
        module: The layer.
        gradient: Its output gradient, `[batch, out, h, w]`.
        groups: The groups of samples, which must be equal.
    """
    if not isinstance(module, nn.Conv2d) or module.kernel_size == (1, 1) or gradient.dim() != 4:
        return False
    if gradient.shape[0] != groups.batch or len(set(groups.sizes)) > 1:
        return False
    return groups.sizes[0] * gradient.shape[2] * gradient.shape[3] >= FEWEST_POSITIONS


def convolution_rows(module: nn.Conv2d, inputs: Tensor, gradient: Tensor, groups: SampleGroups) -> Tensor:
    """Return the weight's rows, `[rows, out, in/groups, kh, kw]`.

    Args:
        module: The layer; `suits` holds.
        inputs: `[batch, in, h, w]`.
        gradient: `[batch, out, h, w]`.
        groups: The groups of samples.
    """
    images, padding = padded(inputs, module)
    rows = len(groups.sizes)
    shape = (rows * module.out_channels, *module.weight.shape[1:])
    found: Tensor = conv2d_weight(
        _side_by_side(images, rows),
        shape,
        _side_by_side(gradient, rows),
        stride=module.stride,
        padding=padding,
        dilation=module.dilation,
        groups=rows * module.groups,
    )
    return found.reshape(rows, *module.weight.shape)


def _side_by_side(images: Tensor, rows: int) -> Tensor:
    """Bring `[rows · size, channels, h, w]` to `[size, rows · channels, h, w]`."""
    batch, channels, height, width = images.shape
    by_group = images.reshape(rows, batch // rows, channels, height, width)
    return by_group.transpose(0, 1).reshape(batch // rows, rows * channels, height, width)
