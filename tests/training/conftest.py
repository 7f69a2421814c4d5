"""Fixtures of the tests that train."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.helpers import small_digits


@pytest.fixture(scope="module")
def small_data() -> Iterator[None]:
    """A data set so small that a step takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grng.data.load", small_digits)
        yield
