"""What is said of an experiment's runs besides their progress: warnings, resumptions, workers that died."""

from __future__ import annotations

from typing import Any

from grng_cli.output import Output


class RunNotices:
    """Says what matters of the events of several runs; a warning that several of them give, once.

    Args:
        output: Of the command.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._warned: set[str] = set()

    def forget(self) -> None:
        """Give warnings again: the runs that follow are of something else."""
        self._warned.clear()

    def __call__(self, name: str, event: Any) -> None:
        """Say what matters of an event of the run that is called `name`; nothing of most."""
        from grng.experiments.on_ray.task import Printed
        from grng.experiments.pool.elsewhere import RunsElsewhere
        from grng.experiments.pool.local import WorkerDied
        from grng.training.events import RunStarted

        if isinstance(event, WorkerDied):
            what = "trying again" if event.retried else "giving up"
            self._output.warning(f"{name}: the worker died ({event.reason}); {what}")
        elif isinstance(event, RunsElsewhere):
            self._output.chatter(f"{name}: {event.who.rstrip('.')}; its result will be taken")
        elif isinstance(event, Printed):
            if event.line not in self._warned:
                self._warned.add(event.line)
                self._output.chatter(f"{name}: {event.line}")
        elif isinstance(event, RunStarted):
            for text in event.warnings:
                if text not in self._warned:  # the same data in every run
                    self._warned.add(text)
                    self._output.warning(text)
            if event.resumed_from_step is not None:
                self._output.chatter(f"{name}: resumed from step {event.resumed_from_step}")
