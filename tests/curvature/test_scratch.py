"""Kept memory: the same for the same request, new for another, none in a copy."""

from __future__ import annotations

import copy

import torch

from grng.curvature.scratch import Scratch


def test_the_same_request_gets_the_same_memory() -> None:
    scratch, like = Scratch(), torch.zeros(1)
    first = scratch.take("rows", (2, 3), like)
    assert scratch.take("rows", (2, 3), like) is first
    assert scratch.take("others", (2, 3), like) is not first


def test_another_shape_or_dtype_gets_its_own() -> None:
    scratch, like = Scratch(), torch.zeros(1)
    scratch.take("rows", (2, 3), like)
    assert scratch.take("rows", (3, 2), like).shape == (3, 2)
    assert scratch.take("rows", (3, 2), like.double()).dtype == torch.float64


def test_a_copy_shares_nothing() -> None:
    scratch, like = Scratch(), torch.zeros(1)
    first = scratch.take("rows", (2, 3), like)
    assert copy.deepcopy(scratch).take("rows", (2, 3), like).data_ptr() != first.data_ptr()
