"""The expressions of a search space: what they mean, and what is none."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from grng.errors import GrngError
from grng.experiments.sweeps.space_grammar import Choice, Dimension, Real, Whole, parse


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("log(1e-4, 1e-1)", Real(1e-4, 1e-1, log=True)),
        ("log(1e-4,.1)", Real(1e-4, 1e-1, log=True)),
        (" uniform( -0.5 , 0.99 ) ", Real(-0.5, 0.99, log=False)),
        ("int(5, 50)", Whole(5, 50, log=False)),
        ("int(-1, 1e3)", Whole(-1, 1000, log=False)),
        ("logint(1, 1000)", Whole(1, 1000, log=True)),
        ("choice(rms, none)", Choice(("rms", "none"))),
        ("choice(0.0, 1e-4, true, null)", Choice((0.0, 1e-4, True, None))),
        ("choice([0.9, 0.99], [0.9, 0.999])", Choice(([0.9, 0.99], [0.9, 0.999]))),
        (["rms", "none"], Choice(("rms", "none"))),
    ],
)
def test_what_an_expression_means(text: Any, dimension: Dimension) -> None:
    found = parse(text, where="here")
    assert found == dimension
    assert parse(str(found), where="here") == found, "and as it is written out"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log(0, 1)", "a logarithmic scale has no 0: 'log(0, 1)'."),
        ("log(-1, 1)", "a logarithmic scale has no -1"),
        ("logint(0, 9)", "a logarithmic scale has no 0"),
        ("uniform(1, 1)", "the lower bound 1 is not below the upper one, 1."),
        ("int(9, 3)", "the lower bound 9 is not below the upper one, 3."),
        ("int(0, 2.5)", "int needs whole numbers, not 2.5."),
        ("log(1)", "log needs two bounds, not 1"),
        ("log(1, 2, 3)", "log needs two bounds, not 3"),
        ("log(1, x)", "'x' is no finite number."),
        ("log(1, inf)", "'inf' is no finite number."),
        ("log(1, 1e999)", "'1e999' is no finite number."),
        ("log(1, __import__('os'))", "is no finite number."),
        ("choice()", "a choice needs values."),
        ("choice(a, )", "an item is empty in 'a,'"),
        ("choice(a, b, a)", "a is there twice."),
        ("choice([1, 2)", "bracket"),
        ([], "a choice needs values."),
        ("lgo(1, 2)", "'lgo' is no kind of range. Did you mean 'log'"),
        ("0.1", "'0.1' is no expression for a search."),
        ("log(1, 2", "is no expression for a search."),
        (0.1, "must be an expression, not 0.1."),
        ("log(" + 3000 * "1", "is longer than 2000 characters."),
    ],
)
def test_what_is_no_expression(text: Any, said: str) -> None:
    with pytest.raises(GrngError) as caught:
        parse(text, where="--space lr")
    assert said in str(caught.value)
    assert caught.value.where == "--space lr"
    assert caught.value.hint


def test_a_logarithmic_range_is_walked_through_in_equal_ratios() -> None:
    dimension = Real(1e-4, 1e-1, log=True)
    for unit in (0.0, 0.25, 0.5, 0.9):
        assert dimension.at(unit) == pytest.approx(1e-4 * 1000**unit, rel=5e-4), "four digits are kept"
        assert dimension.position(dimension.at(unit)) == pytest.approx(unit, abs=1e-4)
    assert Real(0.12341, 0.2, log=False).at(0.0) == 0.12341, "rounding never leaves the range"


def test_every_whole_number_has_its_share() -> None:
    drawn = Counter(Whole(3, 7, log=False).at((index + 0.5) / 1000) for index in range(1000))
    assert drawn == dict.fromkeys(range(3, 8), 200)
    shares = Counter(Whole(1, 9, log=True).at((index + 0.5) / 10_000) for index in range(10_000))
    for value in range(1, 10):
        exact = math.log((value + 0.5) / (value - 0.5)) / math.log(9.5 / 0.5)
        assert shares[value] / 10_000 == pytest.approx(exact, abs=2e-4)


def test_every_choice_has_its_share() -> None:
    drawn = Counter(Choice(("a", "b", "c")).at(index / 300) for index in range(300))
    assert drawn == {"a": 100, "b": 100, "c": 100}
