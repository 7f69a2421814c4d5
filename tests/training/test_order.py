from __future__ import annotations

import pytest
import torch

from grng.errors import GrngError
from grng.training.order import BatchOrder


def test_an_epoch_visits_no_sample_twice_and_drops_the_rest() -> None:
    order = BatchOrder(3500, 128, seed=0)
    assert order.steps_per_epoch == 27
    seen = torch.cat([order.batch(step) for step in range(27)])
    assert len(seen) == 27 * 128
    assert len(set(seen.tolist())) == len(seen)
    assert seen.min() >= 0
    assert seen.max() < 3500


def test_every_epoch_is_shuffled_anew() -> None:
    order = BatchOrder(40, 10, seed=0)
    epochs = [torch.cat([order.batch(4 * epoch + step) for step in range(4)]) for epoch in range(3)]
    assert all(torch.equal(epoch.sort().values, torch.arange(40)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def test_a_step_can_be_asked_for_at_any_time() -> None:
    straight = BatchOrder(50, 8, seed=5)
    batches = [straight.batch(step) for step in range(20)]
    for step in (13, 2, 19, 0):
        assert torch.equal(BatchOrder(50, 8, seed=5).batch(step), batches[step])
        assert torch.equal(straight.batch(step), batches[step])


def test_the_order_depends_on_the_seed_and_not_on_the_global_generator() -> None:
    torch.manual_seed(1)
    first = BatchOrder(100, 10, seed=0).batch(0)
    torch.manual_seed(2)
    assert torch.equal(BatchOrder(100, 10, seed=0).batch(0), first)
    assert not torch.equal(BatchOrder(100, 10, seed=1).batch(0), first)


def test_a_batch_larger_than_the_training_set() -> None:
    assert BatchOrder(10, 10, seed=0).steps_per_epoch == 1
    with pytest.raises(GrngError) as caught:
        BatchOrder(10, 11, seed=0)
    assert str(caught.value) == (
        "training.batch_size: a batch of 11 is larger than the training set of 10 samples. "
        "Use a batch size of at most 10."
    )
