"""Several processes that train one run: the option, who of them speaks, and what starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grng.errors import GrngError
from grng.runs.launched import launched

if TYPE_CHECKING:
    from grng.runs.config import RunConfig
    from grng.runs.result import RunResult

Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        help="Processes that train together, each with cores or a GPU of its own, on a part of every batch.",
        rich_help_panel="Running",
    ),
]


def begin(asked: int | None) -> bool:
    """Let the first of the processes that torchrun started speak, and no other; return whether this one is it.

    Args:
        asked: What `--processes` says.

    Raises:
        GrngError: It says anything under torchrun, or torchrun's variables are not complete.
    """
    place = launched()
    if place is None:
        return True
    first = place.rank == 0
    if not first:
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if asked is not None:
        raise GrngError(
            f"torchrun has started {place.size} process{'es' if place.size > 1 else ''} already.",
            where="--processes",
            hint="Leave it out; torchrun's --nproc-per-node says how many.",
        )
    return first


def refuse_launcher(command: str) -> None:
    """Raise a `GrngError` where torchrun started several processes of a command that shares out its runs itself."""
    place = launched()
    if place is None or place.size == 1:
        return
    begin(None)
    raise GrngError(
        f"{command} starts its own processes, and torchrun has started {place.size} of it.",
        where="environment",
        hint=f"Start it without torchrun; {command} --workers says how many runs go at once.",
    )


def start_early(config: RunConfig) -> None:
    """Have torch loaded for the processes to come, while this one does something else."""
    if _starts(config):
        from grng.experiments.pool.server import start_early as start

        start()


def trainer_of(config: RunConfig) -> Callable[..., RunResult]:
    """Return what trains a run: `train`, or `launch` where it starts the processes first."""
    if _starts(config):
        from grng.experiments.pool.launch import launch

        return launch
    from grng.training.trainer import train

    return train


def _starts(config: RunConfig) -> bool:
    return (config.machine.processes or 1) > 1 and launched() is None
