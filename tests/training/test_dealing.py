"""Which samples each process gets: together those of one process, in its order; pairs for Mixup come along."""

from __future__ import annotations

import math

import pytest
import torch

from grng.runs.sections import AugmentConfig
from grng.training.dealing import Deal, DealtOrder
from grng.training.loss import Loss
from grng.training.mixing import Mixing
from grng.training.order import BatchOrder
from grng.training.preparation import Preparation


def deals(size: int, batch: int, micro: int = 1, share: float = 1.0) -> list[Deal]:
    return [Deal(rank, size, batch, micro, share) for rank in range(size)]


@pytest.mark.parametrize(("size", "batch", "micro"), [(2, 8, 1), (2, 8, 2), (3, 10, 1), (4, 28, 4), (5, 5, 1)])
def test_the_processes_micro_batches_one_after_the_other_are_one_processs(size: int, batch: int, micro: int) -> None:
    parts = [deal.places().chunk(micro) for deal in deals(size, batch, micro)]
    for number in range(micro):
        joined = torch.cat([part[number] for part in parts])
        assert torch.equal(joined, torch.arange(batch).chunk(micro)[number])
        lengths = [len(part[number]) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert min(lengths) > 0


@pytest.mark.parametrize(("size", "batch", "micro", "share"), [(2, 128, 1, 0.25), (2, 32, 2, 0.125), (4, 64, 1, 0.25)])
def test_the_first_shares_of_all_parts_are_the_first_share_of_the_batch(
    size: int, batch: int, micro: int, share: float
) -> None:
    parts = [deal.places().chunk(micro) for deal in deals(size, batch, micro, share)]
    for number in range(micro):
        whole = torch.arange(batch).chunk(micro)[number]
        measured = torch.cat([part[number][: math.ceil(share * len(part[number]))] for part in parts])
        assert torch.equal(measured, whole[: math.ceil(share * len(whole))])
        assert torch.equal(torch.cat([part[number] for part in parts]).sort().values, whole)


@pytest.mark.parametrize(("size", "batch", "micro"), [(2, 7, 1), (3, 16, 2)])
def test_the_weighted_means_of_the_parts_average_to_the_mean_of_the_batch(size: int, batch: int, micro: int) -> None:
    losses = torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    per_process = [
        sum(deal.weight * losses[part].mean() / micro for part in deal.places().chunk(micro))
        for deal in deals(size, batch, micro)
    ]
    torch.testing.assert_close(torch.stack([torch.as_tensor(one) for one in per_process]).mean(), losses.mean())


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "how", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1}]
)
def test_each_part_is_mixed_as_in_the_whole_batch(size: int, how: dict[str, float]) -> None:
    order = BatchOrder(40, 12, seed=1)
    images = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 10
    mixing = Mixing(AugmentConfig.model_validate(how), 10, seed=3)
    for step in range(4):
        batch = order.batch(step)
        whole = Preparation(mixing, Loss(), 10, channels_last=False)(images[batch], labels[batch], step)
        for deal in deals(size, 12, 2):
            own = DealtOrder(order, deal, paired=mixing.pairs).batch(step)
            preparation = Preparation(mixing, Loss(), 10, channels_last=False, kept=len(deal.places()))
            for mine, expected in zip(preparation(images[own], labels[own], step), whole, strict=True):
                torch.testing.assert_close(mine, expected[deal.places()], rtol=0, atol=0)
