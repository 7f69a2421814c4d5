from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grng.errors import GrngError
from grng.experiments.specs import OptimizerSpec, make_label, parse_spec, parse_specs, split_outside_brackets


@pytest.mark.parametrize(
    ("text", "label", "name", "hyperparameters"),
    [
        ("ring", "ring", "ring", {}),
        (" r-kalman ", "r-kalman", "r-kalman", {}),
        ("timm:lamb", "timm:lamb", "timm:lamb", {}),
        ("ring[rho=0.1,damping=0.01]", "ring[rho=0.1,damping=0.01]", "ring", {"rho": 0.1, "damping": 0.01}),
        ("ring[ rho = 1e-3 , damping=0.01 ]", "ring[rho=1e-3,damping=0.01]", "ring", {"rho": 1e-3, "damping": 0.01}),
        ("adamw[betas=[0.9, 0.99]]", "adamw[betas=[0.9,0.99]]", "adamw", {"betas": [0.9, 0.99]}),
        ("kfac[kl_clip=null]", "kfac[kl_clip=null]", "kfac", {"kl_clip": None}),
        ("sgd[nesterov=true]", "sgd[nesterov=true]", "sgd", {"nesterov": True}),
        ("reng[hvp=finite_difference]", "reng[hvp=finite_difference]", "reng", {"hvp": "finite_difference"}),
    ],
)
def test_one_optimizer(text: str, label: str, name: str, hyperparameters: dict[str, Any]) -> None:
    assert parse_spec(text) == OptimizerSpec(label, name, hyperparameters)


def test_commas_within_brackets_do_not_split() -> None:
    specs = parse_specs("adamw,ring,ring[rho=0,damping=0.1],adamw[betas=[0.9,0.99],lr=0.1]")
    assert [spec.label for spec in specs] == [
        "adamw",
        "ring",
        "ring[rho=0,damping=0.1]",
        "adamw[betas=[0.9,0.99],lr=0.1]",
    ]


FORM = "Write name or name[key=value,key=value], for example ring[rho=0.1,damping=0.01]."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ring[rho=0.1", "a bracket is not closed in 'ring[rho=0.1'; ']' is missing"),
        ("ring rho=0.1]", "the bracket ']' does not match in 'ring rho=0.1]'"),
        ("ring[betas=[0.9)]", "the bracket ')' does not match in 'ring[betas=[0.9)]'"),
        ("ring[rho]", "'rho' in 'ring[rho]' is not of the form key=value"),
        ("ring[=1]", "'=1' in 'ring[=1]' is not of the form key=value"),
        ("ring[rho=]", "'rho=' in 'ring[rho=]' is not of the form key=value"),
        ("ring[]", "the brackets of 'ring[]' are empty"),
        ("ring[rho=1]x", "there is more after the closing bracket of 'ring[rho=1]x'"),
        ("ring[rho=1][rho=2]", "the bracket ']' does not match in 'rho=1][rho=2'"),
        ("[rho=1]", "an optimizer's name is missing in '[rho=1]'"),
        ("ring,,adamw", "an item is empty in 'ring,,adamw'"),
        ("", "an item is empty in ''"),
        ("ring[rho=1,]", "an item is empty in 'rho=1,'"),
    ],
)
def test_what_has_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(GrngError) as caught:
        parse_specs(text)
    assert (caught.value.message, caught.value.where, caught.value.hint) == (message, "--optimizers", FORM)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(GrngError, match="'rho' is given twice"):
        parse_spec("ring[rho=1,rho=2]")


def test_labels_of_mappings_read_back() -> None:
    given: dict[str, Any] = {"rho": 0.1, "kl_clip": None, "betas": [0.9, 0.99], "nesterov": True, "hvp": "x"}
    label = make_label("ring", given)
    assert label == "ring[rho=0.1,kl_clip=null,betas=[0.9,0.99],nesterov=true,hvp=x]"
    assert parse_spec(label) == OptimizerSpec(label, "ring", given)
    assert make_label("ring", {}) == "ring"


@given(st.lists(st.text("ab=.0", min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_splitting_undoes_joining(parts: list[str]) -> None:
    assert split_outside_brackets(",".join(f"x[{part},{part}]" for part in parts)) == [f"x[{p},{p}]" for p in parts]
