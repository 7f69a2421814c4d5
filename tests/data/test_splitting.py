from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grng.data.doors import Role
from grng.data.splitting import stratified
from grng.errors import GrngError

BOTH: dict[Role, float] = {"val": 0.1, "test": 0.2}


def pictures(counts: list[int]) -> tuple[list[str], list[int]]:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return [f"{label}/{index}.png" for index, label in enumerate(labels)], labels


@given(st.lists(st.integers(3, 40), min_size=2, max_size=5), st.integers(0, 5))
def test_every_picture_is_in_one_split_and_every_class_in_all(counts: list[int], seed: int) -> None:
    names, labels = pictures(counts)
    parts = stratified(names, labels, BOTH, seed=seed)
    assert sorted(index for part in parts.values() for index in part) == list(range(len(names)))
    for role in parts:
        assert {labels[index] for index in parts[role]} == set(range(len(counts)))


def test_each_class_gives_its_share() -> None:
    names, labels = pictures([100, 50, 10])
    parts = stratified(names, labels, BOTH, seed=0)
    assert Counter(labels[index] for index in parts["val"]) == {0: 10, 1: 5, 2: 1}
    assert Counter(labels[index] for index in parts["test"]) == {0: 20, 1: 10, 2: 2}


def test_the_order_in_which_they_are_found_does_not_matter() -> None:
    names, labels = pictures([30, 20])
    straight = stratified(names, labels, BOTH, seed=3)
    turned = stratified(names[::-1], labels[::-1], BOTH, seed=3)
    for role, part in straight.items():
        assert {names[index] for index in part} == {names[::-1][index] for index in turned[role]}


def test_another_seed_makes_other_splits() -> None:
    names, labels = pictures([100, 100])
    assert stratified(names, labels, BOTH, seed=0)["val"] != stratified(names, labels, BOTH, seed=1)["val"]


def test_a_new_picture_moves_few_others() -> None:
    names, labels = pictures([200, 200])
    before = stratified(names, labels, BOTH, seed=0)
    after = stratified([*names, "0/new.png"], [*labels, 0], BOTH, seed=0)
    moved = sum(len(set(before[role]) - set(after[role])) for role in before)
    assert moved <= 3


def test_a_picture_alone_in_its_class_is_for_training() -> None:
    names, labels = pictures([20, 1])
    parts = stratified(names, labels, BOTH, seed=0)
    assert 20 in parts["train"]


def test_too_few_pictures_are_a_message() -> None:
    names, labels = pictures([1, 1])
    with pytest.raises(GrngError) as caught:
        stratified(names, labels, BOTH, seed=0)
    assert str(caught.value) == (
        "dataset.data_dir: 2 pictures in 2 classes are too few to cut a validation split from. "
        "Every class needs at least 3 pictures, or give the split itself."
    )
