"""What the page shows of how to do runs again: the commands, and the configurations as downloads."""

from __future__ import annotations

from grng.report.html import grids
from grng.report.html.blocks import Block, Downloads, Listing, Prose
from grng.report.html.replay import replay_of, sweep_replay_of
from grng.report.html.sweeps import Sweep
from grng.report.records import Experiment

_SAVE = (
    "Save the configurations below. With the versions above, the commands do the same runs again: on a CPU with losses "
    "that are equal bit for bit, on a GPU up to rounding."
)
_COMPARE = "Where a run's directory is at hand, grng replay RUN does it again and says which digits differ."


def experiment_blocks(experiment: Experiment, *, prefix: str = "") -> list[Block]:
    """Return hyperparameters, commands and configurations of an experiment.

    Args:
        experiment: The runs.
        prefix: What files and directories begin with.
    """
    replay = replay_of(experiment, prefix=prefix)
    hyperparameters = grids.hyperparameter_grid(experiment)
    blocks: list[Block] = [hyperparameters] if hyperparameters is not None else []
    if replay.files:
        blocks.append(Prose((_SAVE, _COMPARE)))
    if replay.compare:
        blocks.append(Listing("The whole comparison", replay.compare))
    if replay.train:
        blocks.append(Listing("Run by run", "\n".join(replay.train), folded=bool(replay.compare)))
    if replay.files:
        blocks.append(Downloads(replay.files))
    return blocks


def sweep_blocks(sweep: Sweep, *, prefix: str = "") -> list[Block]:
    """Return the commands that do a sweep, or the best of it, again.

    Args:
        sweep: The sweep.
        prefix: What files and directories begin with.
    """
    trials = 1 + max((int(one["trial"]) for one in sweep.document["trials"]), default=0)
    again = sweep_replay_of(sweep.directory, sweep.results, trials=trials, prefix=prefix)
    blocks: list[Block] = []
    if again is not None:
        blocks.append(Listing(f"The whole sweep, {sweep.name}", again.compare))
    if sweep.document["best"] is not None:
        blocks.append(Listing(f"The best of {sweep.name}", "grng train --config best.yaml --output replay/best"))
    if again is not None:
        blocks.append(Downloads(again.files))
    return blocks
