"""What the events of a run change on the board."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from grng_cli.live.run_board import Board


def follow(board: Board, key: Hashable, event: Any) -> None:
    """Take an event (`grng.training.events`, `WorkerDied`, `RunsElsewhere`, `RunTaken`) of the run `key` in."""
    from grng.experiments.pool.elsewhere import RunsElsewhere, RunTaken
    from grng.experiments.pool.local import WorkerDied
    from grng.training.events import Evaluated, RunEnded, RunStarted, StepDone

    if isinstance(event, RunStarted):
        board.start(key, event.planned_steps, event.resumed_from_step or 0)
    elif isinstance(event, StepDone):
        board.advance(key, event.step, loss=event.train_loss)
    elif isinstance(event, Evaluated):
        board.score(key, event.val_accuracy)
    elif isinstance(event, RunsElsewhere):
        board.leave(key, "elsewhere")
    elif isinstance(event, RunTaken) or (isinstance(event, WorkerDied) and event.retried):
        board.leave(key, "waiting")
    elif isinstance(event, RunEnded):
        result = event.result
        if result.status == "interrupted":
            board.leave(key, "waiting")
        else:
            accuracy = result.final.val_accuracy
            board.end(key, result.status, step=result.steps, accuracy=accuracy, reused=event.reused)
