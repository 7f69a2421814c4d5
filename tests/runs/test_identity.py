from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grng.runs.config import RunConfig
from grng.runs.identity import directory_name, run_id, short_id


def resolved(**changes: Any) -> RunConfig:
    values = {
        "dataset": {"name": "mnist5k", "img_size": 32},
        "training": {"target": 0.9},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    }
    return RunConfig.model_validate({**values, **changes})


def test_the_id_is_the_hash_of_the_canonical_json() -> None:
    # Written out by hand: a change here makes every finished run of every user be done again.
    import hashlib

    canonical = (
        '{"dataset":{"img_size":32,"name":"mnist5k"},"model":{"kwargs":{},"name":"test_resnet"},'
        '"optimizer":{"lr":0.1,"momentum":0.9,"name":"sgd"},"seed":0,'
        '"training":{"batch_size":128,"divergence_factor":10.0,"divergence_patience":20,"epochs":3,"eval_every":null,'
        '"schedule":"cosine","steps":null,"target":0.9,"warmup":0}}'
    )
    assert run_id(resolved()) == hashlib.sha256(canonical.encode()).hexdigest()
    assert short_id(run_id(resolved())) == run_id(resolved())[:8]


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "x"},
        {"output": "somewhere"},
        {"machine": {"device": "cpu", "threads": 2}},
        {"machine": {"compile": True, "channels_last": True}},
        {"training": {"target": 0.9, "loss": "ce", "grad_accum": 1}},
        {"augment": {"mixup": 0.0}},
        {"logging": {"log_every": 1, "tensorboard": False}},
        {"diagnostics": {"names": "grad_norm,hessian_max", "every": 5, "samples": 10}},
        {"optimizer": {"momentum": 0.9, "lr": 1e-1, "name": "sgd"}},
    ],
)
def test_what_does_not_change_the_training_does_not_change_the_id(changes: dict[str, Any]) -> None:
    assert run_id(resolved(**changes)) == run_id(resolved())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"model": "test_vit"},
        {"model": {"name": "test_resnet", "kwargs": {"drop_rate": 0.1}}},
        {"optimizer": {"name": "sgd", "lr": 0.2, "momentum": 0.9}},
        {"training": {"target": 0.9, "steps": 3}},
        {"training": {"target": 0.9, "loss": "bce"}},
        {"training": {"target": 0.9, "grad_accum": 2}},
        {"training": {"target": 0.9, "precision": "bf16"}},
        {"training": {"target": 0.9, "clip_grad": 1.0}},
        {"training": {"target": 0.9, "ema": 0.9}},
        {"augment": {"mixup": 0.2}},
        {"augment": {"label_smoothing": 0.1}},
    ],
)
def test_what_changes_the_training_changes_the_id(changes: dict[str, Any]) -> None:
    assert run_id(resolved(**changes)) != run_id(resolved())


def test_an_unresolved_config_has_no_id() -> None:
    with pytest.raises(ValueError, match="resolved"):
        run_id(RunConfig())


@pytest.mark.parametrize("label", ["ring", "sophia-g", "ring[rho=0.1,damping=1e-08]", "a+b_c.d"])
def test_plain_labels_are_their_own_names(label: str) -> None:
    assert directory_name(label) == label


@pytest.mark.parametrize(
    "label", ["..", ".", "", ".hidden", "/etc/passwd", "a/../b", "timm:muon", "a b", "ρ", "x" * 500]
)
def test_other_labels_get_safe_names(label: str) -> None:
    name = directory_name(label)
    assert name not in ("", ".", "..")
    assert not name.startswith((".", "/"))
    assert "/" not in name
    assert len(name) <= 140
    assert "~" in name


def test_case_alone_keeps_labels_apart() -> None:
    names = {directory_name(label).casefold() for label in ("Ring", "ring", "RING")}
    assert len(names) == 3


@given(st.lists(st.text(alphabet="ab.A/: ~[", max_size=6), unique=True, min_size=2, max_size=8))
def test_two_labels_never_share_a_name(labels: list[str]) -> None:
    assert len({directory_name(label).casefold() for label in labels}) == len(labels)
