from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from grng.training.evaluate import evaluate
from grng.training.seeding import rng_state

CPU = torch.device("cpu")


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


@pytest.fixture
def split() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(23, 1, 2, 2), torch.randint(0, 3, (23,))


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_the_scores_are_those_of_the_whole_split(
    model: nn.Sequential, split: tuple[torch.Tensor, torch.Tensor], batch_size: int
) -> None:
    images, labels = split
    model.eval()
    outputs = model(images)
    model.train()
    scores = evaluate(model, images, labels, batch_size=batch_size, device=CPU)
    assert scores.loss == pytest.approx(F.cross_entropy(outputs, labels).item(), rel=1e-6)
    assert scores.accuracy == (outputs.argmax(1) == labels).sum().item() / 23


def test_nothing_is_changed(model: nn.Sequential, split: tuple[torch.Tensor, torch.Tensor]) -> None:
    model.train()
    model[2].eval()  # a layer that the user froze stays frozen, the others come back to training
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    before = rng_state()
    evaluate(model, *split, batch_size=5, device=CPU)
    assert [module.training for module in model.modules()] == modes
    assert modes.count(False) == 1
    assert torch.equal(rng_state()["torch"], before["torch"])
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_modes_come_back_after_an_error(model: nn.Sequential) -> None:
    model.train()
    with pytest.raises(RuntimeError):
        evaluate(model, torch.zeros(3, 1, 9, 9), torch.zeros(3, dtype=torch.int64), batch_size=2, device=CPU)
    assert all(module.training for module in model.modules())


def test_training_goes_on_after_an_evaluation(model: nn.Sequential, split: tuple[torch.Tensor, torch.Tensor]) -> None:
    model.train()
    evaluate(model, *split, batch_size=5, device=CPU)
    torch.autograd.backward(F.cross_entropy(model(split[0]), split[1]))
    assert all(p.grad is not None for p in model.parameters())
