from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grng.statistics import holm


def test_holm_by_hand() -> None:
    # 4 × 0.01, 3 × 0.013 = 0.039 (raised to 0.04), 2 × 0.03, 1 × 0.5.
    adjusted = holm([0.03, 0.01, 0.5, 0.013])
    assert adjusted == pytest.approx([0.06, 0.04, 0.5, 0.04])
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_comparisons_that_were_not_made() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    with pytest.raises(ValueError, match="holm"):
        holm([1.2])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12))
def test_holm_raises_p_at_most_to_bonferroni_and_keeps_the_order(pvalues: list[float | None]) -> None:
    adjusted = holm(pvalues)
    family = sum(p is not None for p in pvalues)
    pairs = sorted((p, a) for p, a in zip(pvalues, adjusted, strict=True) if p is not None and a is not None)
    assert [a is None for a in adjusted] == [p is None for p in pvalues]
    assert all(p <= a <= min(1.0, p * family) * (1 + 1e-12) for p, a in pairs)
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)
