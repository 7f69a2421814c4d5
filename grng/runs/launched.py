"""What a launcher says of this process in its environment: torchrun, or one that sets the same variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from grng.errors import GrngError

_TELLING = ("RANK", "WORLD_SIZE")
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_HINT = "Start it with torchrun, which sets all of them, or unset RANK and WORLD_SIZE."


@dataclass(frozen=True, slots=True)
class Place:
    """One process among those that a launcher started.

    Args:
        rank: Its number, from 0.
        size: How many there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    def environment(self, *, address: str, port: int) -> dict[str, str]:
        """Return what torchrun would set; `address` and `port` are of the store at which the processes meet."""
        numbers = {
            "RANK": self.rank,
            "WORLD_SIZE": self.size,
            "LOCAL_RANK": self.local_rank,
            "LOCAL_WORLD_SIZE": self.local_size,
            "MASTER_PORT": port,
        }
        return {"MASTER_ADDR": address, **{name: str(number) for name, number in numbers.items()}}


def launched(environment: Mapping[str, str] | None = None) -> Place | None:
    """Return this process's place among those of a launcher; None where none started it.

    Args:
        environment: The variables; None: this process's.

    Raises:
        GrngError: If variables are missing, or contradict each other.
    """
    given = os.environ if environment is None else environment
    if not any(given.get(name) for name in _TELLING):
        return None
    missing = [name for name in _NEEDED if not given.get(name)]
    if missing:
        there = ", ".join(name for name in _NEEDED if given.get(name))
        raise GrngError(f"{there} is set, but {', '.join(missing)} is not.", where="environment", hint=_HINT)
    rank, size, local_rank = (_number(given, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    local_size = _number(given, "LOCAL_WORLD_SIZE") if given.get("LOCAL_WORLD_SIZE") else size
    _number(given, "MASTER_PORT")
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise GrngError(
            f"process {rank} of {size}, {local_rank} of {local_size} on this machine, is none that there can be.",
            where="environment",
            hint=_HINT,
        )
    return Place(rank, size, local_rank, local_size)


def _number(given: Mapping[str, str], name: str) -> int:
    try:
        return int(given[name])
    except ValueError:
        raise GrngError(f"{name} is {given[name]!r}, which is no number.", where="environment", hint=_HINT) from None
