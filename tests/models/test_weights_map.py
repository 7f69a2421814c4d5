from __future__ import annotations

import pytest

from grng.errors import GrngError
from grng.models.weights_map import check_rules, rename


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], ["backbone.layers.0.w", "backbone.layers.11.w", "fc.w"]),
        (["backbone.="], ["layers.0.w", "layers.11.w", "fc.w"]),
        (["fc=head"], ["backbone.layers.0.w", "backbone.layers.11.w", "head.w"]),
        (["backbone.=", "layers.=blocks."], ["blocks.0.w", "blocks.11.w", "fc.w"]),
        ([r"re:^backbone\.layers\.(\d+)=blocks.\1"], ["blocks.0.w", "blocks.11.w", "fc.w"]),
        ([r"re:\.w$=.weight"], ["backbone.layers.0.weight", "backbone.layers.11.weight", "fc.weight"]),
        ([r"re:(?i)BACKBONE\.(?=layers)="], ["layers.0.w", "layers.11.w", "fc.w"]),
    ],
)
def test_rules_apply_one_after_the_other(rules: list[str], expected: list[str]) -> None:
    state = {"backbone.layers.0.w": 0, "backbone.layers.11.w": 1, "fc.w": 2}
    renamed = rename(state, rules)
    assert list(renamed) == expected
    assert list(renamed.values()) == [0, 1, 2]


@pytest.mark.parametrize("rule", ["", "abc", "=new", "re:=new"])
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(GrngError, match=r"model.weights_map: .* is no rule\. Write old=new"):
        check_rules([rule])


@pytest.mark.parametrize("rule", ["re:(=new", r"re:a=\1", r"re:a=\g<x>"])
def test_what_is_no_regular_expression(rule: str) -> None:
    with pytest.raises(GrngError, match="is no regular expression with its replacement"):
        check_rules([rule])


def test_a_rule_without_effect_says_what_names_there_are() -> None:
    with pytest.raises(GrngError) as caught:
        rename({"backbone.w": 0, "head.w": 1}, ["backbon=x", "encoder.="])
    assert caught.value.message == "the rule 'encoder.=' changes none of the names in the file."
    with pytest.raises(GrngError) as caught:
        rename({"backbone.w": 0, "head.w": 1}, ["bakbone.=x."])
    assert caught.value.hint == "Did you mean 'backbone'?"


def test_two_entries_must_not_become_one() -> None:
    with pytest.raises(GrngError, match=r"two entries of the file get the name 'w'\."):
        rename({"a.w": 0, "b.w": 1}, ["re:^.\\.="])
