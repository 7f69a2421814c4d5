"""The training loop: the only one, the same for every optimizer."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence

from grng.runs.config import RunConfig
from grng.runs.result import RunResult
from grng.training.events import EpochDone, Evaluated, Event, Listener, RunEnded, RunStarted, StepDone
from grng.training.follower import Follower
from grng.training.progress import DivergenceReason
from grng.training.runfiles import RunFiles
from grng.training.session import Session
from grng.training.signals import StopRequest
from grng.training.step import StepOutcome


class Loop:
    """Trains a session to its end: finished, diverged, or stopped.

    Everything that belongs to a step (record, evaluation, events, checkpoint) happens before the loop looks whether
    it should stop, so that a checkpoint never holds half a step.

    Args:
        config: The resolved config.
        session: The run in memory, at its first step or loaded from a checkpoint.
        files: Its files; of several processes the leading one's, the others have followers.
        listeners: Called with every event after the files.
        stop: Whether the run was asked to stop.
    """

    def __init__(
        self,
        config: RunConfig,
        session: Session,
        files: RunFiles | Follower,
        listeners: Sequence[Listener],
        stop: StopRequest,
    ) -> None:
        self._config = config
        self._session = session
        self._progress = session.progress
        self._files = files
        self._listeners = listeners
        self._stop = stop
        self._announced: str | None = None

    def run(self) -> RunResult:
        """Train; return the result, which is stored.

        Raises:
            Interrupted: If the run was asked to stop; its state is saved.
        """
        self._emit(self._started())
        reason: DivergenceReason | None = None
        while reason is None and self._progress.step < self._session.planned_steps:
            self._heed_stop()
            reason = self._step()
        if reason is None:
            self._heed_stop()
        result = self._finish(reason)
        if self._stop:
            raise self._stop.error("stopped after the last step; the result is saved.", self._files.path)
        return result

    def _step(self) -> DivergenceReason | None:
        """Do one step with all that follows it; return why the run has diverged, or None."""
        step = self._progress.step + 1
        evaluate, logged, diagnose = self._is_evaluated(step), self._is_logged(step), self._session.is_diagnosed(step)
        outcome = self._session.advance(collect=logged, diagnose=diagnose)
        reason = self._progress.record_step(outcome.loss)
        epoch_over = self._is_epoch_over()
        evaluation = self._evaluate() if reason is None and (evaluate or epoch_over) else None
        if evaluation is not None and not math.isfinite(evaluation.val_loss):
            reason = "nan"
        shown = None if epoch_over else evaluation
        self._emit(self._step_done(outcome, shown, logged=logged or diagnose or reason is not None))
        if epoch_over and evaluation is not None:
            self._emit(self._epoch_done(evaluation))
        if reason is None and self._files.checkpoint_due(epoch_over=epoch_over):
            self._save()
        return reason

    def _finish(self, reason: DivergenceReason | None) -> RunResult:
        if reason is None:
            test = self._session.evaluate(self._session.data.test)
            result = self._files.record(status="finished", test=test)
        else:
            result = self._files.record(status="diverged", reason=reason, message=self._divergence(reason))
        self._emit(RunEnded(result))
        return result

    def _heed_stop(self) -> None:
        if not self._asked_to_stop():
            return
        self._save()
        done = f"stopped at step {self._progress.step} of {self._session.planned_steps}; what is there is saved."
        result = self._files.record(status="interrupted", reason="signal", message=done)
        self._emit(RunEnded(result))
        raise self._stop.error(done, self._files.path)

    def _asked_to_stop(self) -> bool:
        """Whether any process of the run was asked to, before this step: all of them stop at the same one."""
        number = int(self._session.world.highest(int(self._stop.signal or 0)))
        if number and not self._stop:
            self._stop.signal = signal.Signals(number)
        return number > 0

    def _save(self) -> None:
        saved = self._files.save()
        if saved is not None:
            self._emit(saved)

    def _evaluate(self) -> Evaluated:
        scores = self._session.evaluate(self._session.data.val)
        elapsed_s = self._session.clock.elapsed_s
        is_best = self._progress.record_evaluation(scores, elapsed_s=elapsed_s)
        if is_best:
            self._files.save_best(val_accuracy=scores.accuracy)
        event = Evaluated(
            self._progress.step, self._progress.epoch, elapsed_s, scores.loss, scores.accuracy, is_best=is_best
        )
        self._emit(event)
        return event

    def _is_logged(self, step: int) -> bool:
        edge = step in (1, self._session.planned_steps)
        return edge or step % self._config.logging.log_every == 0 or self._is_evaluated(step)

    def _is_evaluated(self, step: int) -> bool:
        every = self._config.training.eval_every
        return every is not None and step % every == 0

    def _is_epoch_over(self) -> bool:
        progress = self._progress
        return progress.steps_in_epoch == progress.steps_per_epoch or progress.step == self._session.planned_steps

    def _started(self) -> RunStarted:
        session, coverage = self._session, self._session.coverage
        self._announced = None if coverage is None else coverage.summary()
        return RunStarted(
            config=self._config,
            directory=self._files.path,
            planned_steps=session.planned_steps,
            steps_per_epoch=session.order.steps_per_epoch,
            resumed_from_step=self._files.resumed_from_step,
            device=str(session.device),
            parameters=session.parameters().model_dump(),
            coverage=None if coverage is None else coverage.as_dicts(),
            coverage_summary=self._announced,
            warnings=(*self._files.warnings, *session.warnings),
            notes=session.prepared.notes,
        )

    def _step_done(self, outcome: StepOutcome, evaluation: Evaluated | None, *, logged: bool) -> StepDone:
        return StepDone(
            step=self._progress.step,
            epoch=self._progress.epoch,
            planned_steps=self._session.planned_steps,
            elapsed_s=self._session.clock.elapsed_s,
            train_loss=outcome.loss,
            logged=logged,
            metrics=self._metrics(outcome) if logged else {},
            timing=self._session.clock.timing() if logged else {},
            evaluation=evaluation,
            coverage_summary=self._changed_coverage() if logged or self._progress.step == 1 else None,
        )

    def _changed_coverage(self) -> str | None:
        """Return the coverage in one line where it is no longer the one announced."""
        coverage = self._session.coverage
        if coverage is None or coverage.summary() == self._announced:
            return None
        self._announced = coverage.summary()
        return self._announced

    def _metrics(self, outcome: StepOutcome) -> dict[str, float]:
        metrics = {"lr": float(self._session.optimizer.param_groups[0]["lr"])}
        metrics |= self._session.rules.precision.metrics()
        if outcome.accuracy is not None:
            metrics["train_accuracy"] = outcome.accuracy
            if outcome.stepped:
                diagnostics = self._session.optimizer.diagnostics()
                metrics |= {f"optimizer/{name}": value for name, value in diagnostics.items()}
        return metrics | {f"diagnostics/{name}": value for name, value in outcome.diagnostics.items()}

    def _epoch_done(self, evaluation: Evaluated) -> EpochDone:
        return EpochDone(
            step=self._progress.step,
            epoch=self._progress.epoch,
            elapsed_s=evaluation.elapsed_s,
            train_loss=self._progress.epoch_loss(),
            batches_sha256=self._session.chain.hexdigest,
            evaluation=evaluation,
        )

    def _divergence(self, reason: DivergenceReason) -> str:
        training, step = self._config.training, self._progress.step
        if reason == "nan":
            return f"the loss was no longer a finite number at step {step}."
        return (
            f"the loss was above {training.divergence_factor:g} times the first step's for "
            f"{training.divergence_patience} steps in a row, up to step {step}."
        )

    def _emit(self, event: Event) -> None:
        receivers: list[Listener] = [self._files, *self._listeners]
        for listener in receivers:
            try:
                listener(event)
            except KeyboardInterrupt:
                if self._stop:  # asked twice
                    raise
                self._stop.set()
