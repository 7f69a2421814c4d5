"""Which of a test's cases run by default, and which in the slow tier."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def tiered(cases: Iterable[Any], default: Collection[Any], *, several: bool = False) -> list[Any]:
    """Return all cases for `parametrize`: those of `default` as they are, the others marked slow.

    Args:
        cases: All of them.
        default: Those that run by default.
        several: Whether a case is a tuple of the values of several parameters.
    """
    cases = list(cases)
    strangers = [case for case in default if case not in cases]
    assert not strangers, f"{strangers} are no cases"
    slow = [pytest.param(*(case if several else (case,)), marks=pytest.mark.slow) for case in cases]
    return [case if case in default else marked for case, marked in zip(cases, slow, strict=True)]
