from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from grng.training.pairing import BatchChain, init_sha256


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(2, 3, generator=generator),
        "b": torch.tensor(5),
        "c": torch.randn(4, generator=generator).bfloat16(),
    }


def test_the_hash_is_equal_for_equal_weights() -> None:
    assert init_sha256(weights()) == init_sha256(weights())
    strided = weights() | {"a": weights()["a"].t().contiguous().t()}
    assert init_sha256(strided) == init_sha256(weights()), "a matter of values, not of strides"


@pytest.mark.parametrize(
    "other",
    [
        weights(1),
        weights() | {"a": weights()["a"].reshape(3, 2)},
        weights() | {"a": weights()["a"].view(torch.int32)},
        weights() | {"b": torch.tensor(5, dtype=torch.int32)},
        {("x" if name == "a" else name): value for name, value in weights().items()},
        {name: value for name, value in weights().items() if name != "c"},
    ],
)
def test_the_hash_sees_values_shapes_types_and_names(other: dict[str, torch.Tensor]) -> None:
    assert init_sha256(other) != init_sha256(weights())


def test_one_bit_of_one_weight_changes_the_hash() -> None:
    model = nn.Linear(3, 2)
    before = init_sha256(model.state_dict())
    with torch.no_grad():
        model.bias[0] = torch.nextafter(model.bias[0], torch.tensor(9.0))
    assert init_sha256(model.state_dict()) != before


def test_the_chain_is_the_recurrence_it_says_it_is() -> None:
    chain = BatchChain()
    chain.update(torch.tensor([1, 2]))
    chain.update(torch.tensor([3, 4]))
    link = hashlib.sha256(bytes(32) + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")).digest()
    link = hashlib.sha256(link + (3).to_bytes(8, "little") + (4).to_bytes(8, "little")).digest()
    assert chain.hexdigest == link.hex()


def test_the_chain_goes_on_from_a_checkpoint_and_knows_the_order() -> None:
    batches = [torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([5, 6])]
    straight, swapped = BatchChain(), BatchChain()
    for batch in batches:
        straight.update(batch)
    for batch in (batches[1], batches[0], batches[2]):
        swapped.update(batch)
    first = BatchChain()
    first.update(batches[0])
    resumed = BatchChain(first.hexdigest)
    resumed.update(batches[1])
    resumed.update(batches[2])
    assert resumed.hexdigest == straight.hexdigest
    assert swapped.hexdigest != straight.hexdigest
