"""Options about what the runs of an experiment go on: workers, threads, GPUs, time."""

# No `from __future__ import annotations`: Typer would evaluate the text of every annotation, twice, for `--help`.
from typing import Annotated, Any

import typer

_RUNNING = "Running"

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Runs at once, each on cores of its own; default: as many as there are cores. 0: in this process.",
        rich_help_panel=_RUNNING,
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads-per-run", help="CPU threads of each run.", rich_help_panel=_RUNNING)
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Where runs go: local (processes on this machine, the default), or ray (a Ray cluster).",
        rich_help_panel=_RUNNING,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Of the Ray cluster: auto, HOST:PORT, ray://HOST:PORT.",
        rich_help_panel=_RUNNING,
    ),
]
GpusPerRun = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-run",
        help="Share of a GPU that a run needs; 0.5: two runs on one GPU. Default: 1 where there are GPUs.",
        rich_help_panel=_RUNNING,
    ),
]
Oversubscribe = Annotated[
    bool | None,
    typer.Option(
        "--oversubscribe",
        help="Let more threads run than there are cores; times then mean little.",
        rich_help_panel=_RUNNING,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Seconds that a run may take; then it saves itself and has failed, and the rest goes on.",
        rich_help_panel=_RUNNING,
    ),
]


def overrides(
    workers: int | None,
    threads: int | None,
    gpus_per_run: float | None,
    oversubscribe: bool | None,
    timeout: float | None,
    engine: str | None,
    address: str | None,
) -> list[tuple[str, Any, str]]:
    """Return (key, value, flag) of these options, as the other flags are listed."""
    return [
        ("workers", workers, "--workers"),
        ("machine.threads", threads, "--threads-per-run"),
        ("pool.gpus_per_run", gpus_per_run, "--gpus-per-run"),
        ("pool.oversubscribe", oversubscribe or None, "--oversubscribe"),
        ("pool.timeout", timeout, "--timeout"),
        ("pool.engine", engine, "--engine"),
        ("pool.address", address, "--address"),
    ]
