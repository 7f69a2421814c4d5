"""The table of mutants is not stale: its texts are in the source, its tests exist, and every optimizer has its share."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from grng.optim.registry import REGISTRY
from tests.mutations.mutant import ROOT, Mutant, StaleMutantError
from tests.mutations.table import MUTANTS

LEAST = {
    "kfac": 5,
    "ring": 5,
    "reng": 5,
    "r-kalman": 5,
    "sophia-g": 5,
    "sophia-h": 5,
    "gr-sgd": 5,
    "gr-adamw": 5,
    "sam": 5,
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutated_source_is_another_program(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    mutated = mutant.applied_to(source)
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))
    compile(mutated, mutant.file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_must_notice_exist(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        file, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}" in (ROOT / file).read_text(), test


def test_every_optimizer_of_ours_has_its_share_and_no_name_comes_twice() -> None:
    counts = Counter(mutant.optimizer for mutant in MUTANTS)
    assert {name: counts[name] >= least for name, least in LEAST.items()} == dict.fromkeys(LEAST, True)
    assert set(counts) <= set(REGISTRY)
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1


def test_a_text_that_is_gone_is_said() -> None:
    mutant = Mutant("ring", "gone", "a.py", "x = 1", "x = 2", ("tests/a.py",))
    with pytest.raises(StaleMutantError, match=r"ring: gone: expected 1 of 'x = 1' in a.py, found 2"):
        mutant.applied_to("x = 1\nx = 1\n")
    assert mutant.applied_to("x = 1\ny = 1\n") == "x = 2\ny = 1\n"
