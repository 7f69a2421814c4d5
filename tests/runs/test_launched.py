"""What torchrun's variables say of this process, and what is said when they do not fit."""

from __future__ import annotations

import pytest

from grng.errors import GrngError
from grng.runs.launched import Place, launched

COMPLETE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}


def test_no_launcher_no_place() -> None:
    assert launched({"MASTER_ADDR": "here", "PATH": "/bin"}) is None


def test_what_a_place_says_is_read_back() -> None:
    place = Place(rank=3, size=4, local_rank=1, local_size=2)
    assert launched(place.environment(address="here", port=29500)) == place
    assert launched(COMPLETE) == Place(1, 4, 1, 4)


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(GrngError, match=f"but {missing} is not"):
        launched({**COMPLETE, missing: ""})


@pytest.mark.parametrize(("name", "value"), [("RANK", "4"), ("LOCAL_RANK", "-1"), ("WORLD_SIZE", "0"), ("RANK", "one")])
def test_what_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(GrngError, match=r"no number|none that there can be"):
        launched({**COMPLETE, name: value})
