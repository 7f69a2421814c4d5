"""Random points on the unit sphere: the inputs for which the two-layer theory holds.

Du et al. (2019, arXiv 1810.02054) and Zhang, Martens & Grosse (2019, arXiv 1905.10961) take inputs of norm 1, no two of
them parallel; how fast gradient descent is then depends on the smallest eigenvalue of a kernel between them. For points
that are uniform on the sphere it is far from 0. For pictures, digits say, it is not: many of them are nearly parallel,
and a rate of convergence would be lost in rounding before it could be seen.

The points are a function of their number alone: the same with every run's seed and on every machine.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtri

from grng.data.bundle import DataBundle, Split
from grng.data.draws import uniforms
from grng.data.registry import DatasetInfo

_POINTS, _PLANE = 0x5EED_0001, 0x5EED_0002


def load_sphere(info: DatasetInfo, *, img_size: int | None = None) -> DataBundle:
    """Return points x on the unit sphere in img_size² dimensions, labelled by the sign of v·x for one direction v.

    Args:
        info: Of the registry: how many points.
        img_size: Height and width in pixels of the image [1, img_size, img_size] that a point is; None: 8.
    """
    size = info.img_size if img_size is None else img_size
    info.check_img_size(size)
    count, dimensions = info.train + info.val + info.test, size**2
    half = 2.0**-54  # uniforms are multiples of 2⁻⁵³ from 0 on; the normal quantile of 0 is −∞
    points = ndtri(uniforms(_POINTS, np.arange(count), dimensions) + half)
    points /= np.sqrt(np.square(points).sum(axis=1, keepdims=True))
    direction = ndtri(uniforms(_PLANE, np.arange(1), dimensions) + half)[0]
    images = torch.from_numpy(points.astype(np.float32)).reshape(count, 1, size, size)
    labels = torch.from_numpy(((points * direction).sum(axis=1) > 0).astype(np.int64))
    sizes = [info.train, info.val, info.test]
    train, val, test = map(Split, images.split(sizes), labels.split(sizes))
    return DataBundle(
        name=info.name,
        train=train,
        val=val,
        test=test,
        num_classes=info.num_classes,
        channels=info.channels,
        img_size=size,
        target=info.target,
        mean=(0.0,),  # as they are: the norm of 1 is the point
        std=(1.0,),
        description=info.summary,
    )
