"""Which of a test's cases run by default, and which in the slow tier."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def tiered(cases: Iterable[Any], default: Collection[Any]) -> list[Any]:
    """Return all cases for `parametrize`: those of `default` as they are, the others marked slow."""
    cases = list(cases)
    strangers = [case for case in default if case not in cases]
    assert not strangers, f"{strangers} are no cases"
    return [case if case in default else pytest.param(case, marks=pytest.mark.slow) for case in cases]
