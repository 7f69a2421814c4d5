"""How the factored form splits the damping between the two factors."""

from __future__ import annotations

import torch

from grng.curvature.kronecker import damping_split


def test_the_split_is_the_root_of_the_ratio_of_mean_eigenvalues_within_its_range() -> None:
    a = torch.diag(torch.tensor([1.0, 7.0])).double()
    g = torch.diag(torch.tensor([0.5, 0.25, 0.75])).double()
    zero = torch.zeros_like(g)
    cases = [
        (a, g, 8.0**0.5),
        (1e12 * a, g, 1e3),
        (a, zero, 1e3),
        (1e-12 * a, g, 1e-3),
        (0 * a, g, 1e-3),
        (0 * a, zero, 1.0),
    ]
    found = damping_split(
        torch.stack([case[0] for case in cases]), torch.stack([case[1] for case in cases]), len(cases)
    )
    torch.testing.assert_close(found, torch.tensor([case[2] for case in cases], dtype=torch.float64))
