"""The schema of what an experiment's runs go on: how they share machines, and for how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from grng.runs.schema import Name, Positive, Section


class PoolConfig(Section):
    """What the runs of an experiment go on; no part of its identity."""

    engine: Literal["local", "ray"] = "local"
    """`local`: processes on this machine; `ray`: tasks of a Ray cluster."""
    address: Name | None = None
    """Of the Ray cluster: `auto`, HOST:PORT or `ray://HOST:PORT`; null: the one on this machine, or a new one."""
    gpus_per_run: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of a GPU that each run needs; 0.5: two runs on one GPU. null: a whole one, where there are GPUs."""
    oversubscribe: bool = False
    """Let more threads run than there are cores; times then mean little."""
    timeout: Positive | None = None
    """Seconds that a run may take; then it saves itself and has failed, and goes on when it is run again."""
