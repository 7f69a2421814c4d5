from __future__ import annotations

import io
import math

import pytest
import torch

from grng.training.evaluate import Scores
from grng.training.progress import Progress


def progress(
    *, target: float | None = 0.9, steps_per_epoch: int = 4, factor: float = 10.0, patience: int = 3
) -> Progress:
    return Progress(
        steps_per_epoch=steps_per_epoch, target=target, divergence_factor=factor, divergence_patience=patience
    )


def test_epoch_and_final_losses() -> None:
    run = progress()
    for loss in (8.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        assert run.record_step(loss) is None
    assert (run.step, run.epoch, run.steps_in_epoch) == (6, 2, 2)
    assert run.epoch_loss() == 4.5, "the second epoch so far"
    assert run.final_loss() == 3.5, "the last four steps"
    run.record_step(6.0)
    run.record_step(7.0)
    assert (run.epoch, run.steps_in_epoch) == (2, 4)
    assert run.epoch_loss() == run.final_loss() == 5.5


def test_a_run_shorter_than_an_epoch() -> None:
    run = progress(steps_per_epoch=100)
    assert run.final_loss() is None
    run.record_step(1.0)
    run.record_step(2.0)
    assert run.epoch_loss() == run.final_loss() == 1.5


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_divergence_at_once(loss: float) -> None:
    run = progress()
    assert run.record_step(1.0) is None
    assert run.record_step(loss) == "nan"
    assert run.step == 2
    assert progress().record_step(loss) == "nan"


def test_the_loss_bound_needs_patience_in_a_row() -> None:
    run = progress(factor=10.0, patience=3)
    verdicts = [run.record_step(loss) for loss in (2.0, 21.0, 21.0, 20.0, 20.1, 20.1, 99.0)]
    assert verdicts == [None] * 6 + ["loss_bound"], "20.0 is not above ten times 2.0 and starts the count anew"


def evaluations(accuracies: list[float], target: float | None = 0.9) -> Progress:
    run = progress(target=target)
    for count, accuracy in enumerate(accuracies, start=1):
        run.record_step(1.0)
        run.record_evaluation(Scores(loss=0.5, accuracy=accuracy), elapsed_s=10.0 * count)
    return run


@pytest.mark.parametrize(
    ("accuracies", "reached"),
    [
        ([0.5, 0.9, 0.95, 0.99], (2, 20.0)),
        ([0.95, 0.5, 0.95, 0.95], (3, 30.0)),
        ([0.95, 0.5, 0.95, 0.5], None),
        ([0.5, 0.6, 0.7, 0.95], None),
        ([0.95, 0.95, 0.1, 0.95, 0.95], (1, 10.0)),
    ],
)
def test_the_target_is_reached_at_the_first_of_two_in_a_row(
    accuracies: list[float], reached: tuple[int, float] | None
) -> None:
    assert evaluations(accuracies).reached == reached


def test_no_target() -> None:
    assert evaluations([1.0, 1.0, 1.0], target=None).reached is None


def test_the_best_accuracy_goes_to_the_earlier_of_equals() -> None:
    run = progress()
    best = []
    for accuracy in (0.5, 0.8, 0.8, 0.7):
        for _ in range(4):
            run.record_step(1.0)
        best.append(run.record_evaluation(Scores(loss=1.0, accuracy=accuracy), elapsed_s=0.0))
    assert best == [True, True, False, False]
    assert (run.best_accuracy, run.best_epoch) == (0.8, 2)
    assert run.scores == Scores(loss=1.0, accuracy=0.7)


def test_an_evaluation_that_is_no_number_is_kept_but_never_best() -> None:
    run = progress(target=0.05)
    run.record_step(1.0)
    assert not run.record_evaluation(Scores(loss=math.nan, accuracy=0.1), elapsed_s=1.0)
    assert run.best_accuracy is None
    assert run.candidate is None
    assert run.scores is not None
    assert run.scores.accuracy == 0.1


def test_everything_goes_through_a_checkpoint() -> None:
    straight, first = progress(), progress()
    losses = [3.0, 31.0, 31.0, 2.0, 31.0, 31.0, 31.0]
    for run in (straight, first):
        for step, loss in enumerate(losses[:6]):
            run.record_step(loss)
            if step in (2, 4):
                run.record_evaluation(Scores(loss=0.1, accuracy=0.91 + 0.01 * step), elapsed_s=float(step))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = progress()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed == first
    assert resumed.record_step(losses[6]) == straight.record_step(losses[6]) == "loss_bound"
    assert resumed == straight
    assert resumed.reached == (3, 2.0)
