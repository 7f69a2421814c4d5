"""What the hooks record: every use of one forward, with the edges of its outputs, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from grng.curvature.capture import Capture


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(nn.Linear(5, 6), nn.Tanh()).double(), nn.Linear(6, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.body, x, use_reentrant=False)
        assert isinstance(hidden, Tensor)
        out: Tensor = self.head(hidden)
        return out


def test_the_recomputation_of_a_checkpointed_part_is_no_use_of_its_own() -> None:
    model = Checkpointed()
    capture = Capture(model, {"body": model.body[0], "head": model.head}, lambda: True)
    outputs = model(torch.randn(3, 5, dtype=torch.float64))
    outputs.sum().backward(retain_graph=True)  # recomputes the body
    uses = capture.take()
    assert {name: len(found) for name, found in uses.items()} == {"body": 1, "head": 1}
    edges = [uses["body"][0].edge, uses["head"][0].edge]
    assert all(gradient is not None for gradient in torch.autograd.grad(outputs.sum(), edges))
    assert capture.take() == {}


def test_a_forward_forgets_the_one_before_and_close_forgets_all() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).double()
    capture = Capture(model, {"0": model[0]}, lambda: True)
    first, second = torch.randn(2, 3, 5, dtype=torch.float64)
    model(first)
    model(second)
    (use,) = capture.uses["0"]
    assert torch.equal(use.inputs, second)
    capture.close()
    model(first)
    assert capture.uses == {}
