from __future__ import annotations

import pytest
import torch

from grng.curvature.precision import inner_product, norms

KINDS = {
    "float32": (torch.float32, torch.float32),
    "float64": (torch.float64, torch.float64),
    "mixed": (torch.float32, torch.float64),
    "half": (torch.float32, torch.bfloat16),
}


@pytest.mark.parametrize("kinds", list(KINDS.values()), ids=list(KINDS))
def test_an_inner_product_is_the_sum_over_all_entries(kinds: tuple[torch.dtype, torch.dtype]) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (), (5,), (2, 3, 1, 2))
    left, right = ([torch.randn(shape, generator=generator) for shape in shapes] for _ in range(2))
    left = [tensor.to(kinds[place % 2]) for place, tensor in enumerate(left)]
    found = inner_product(left, right)
    expected = sum(float((a.double() * b.double()).sum()) for a, b in zip(left, right, strict=True))
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_norms_of_tensors_of_several_kinds() -> None:
    tensors = [torch.full((4,), 3.0), torch.full((9,), 2.0, dtype=torch.float64)]
    found = norms(tensors)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor([6.0, 6.0], dtype=torch.float64), rtol=1e-12, atol=0)
