"""R-Kalman's modes: which one is chosen, with which defaults, and what has no effect in it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from grng.errors import HyperparameterError
from grng.optim.rkalman import FILTERS, RKalman
from grng.optim.rkalman_layers import LayerFilter
from grng.optim.rkalman_loss import LossFilter
from grng.optim.rkalman_outputs import OutputsFilter
from grng.optim.rkalman_samples import SamplesFilter
from grng.optim.rkalman_settings import MODES
from grng.optimizers import create_optimizer, hyperparameters, resolve_hyperparameters
from tests.oracles.nets import mlp

LOSS: dict[str, Any] = {"observation": "loss"}
LAYER: dict[str, Any] = {"observation": "samples", "filter_scope": "layer"}
GLOBAL: dict[str, Any] = {"observation": "samples", "filter_scope": "global"}
BY_ITSELF = "filter_scope=layer (the default with observation=samples)"


@pytest.mark.parametrize(
    ("given", "scope", "kind"),
    [
        ({}, "layer", LayerFilter),
        ({"observation": "samples"}, "layer", LayerFilter),
        ({"filter_scope": "layer"}, "layer", LayerFilter),
        ({"observation": "samples", "filter_scope": None}, "layer", LayerFilter),
        ({"filter_scope": "global"}, "global", SamplesFilter),
        (LOSS, "global", LossFilter),
        ({**LOSS, "filter_scope": None}, "global", LossFilter),
        ({**LOSS, "filter_scope": "global"}, "global", LossFilter),
        ({"observation": "outputs"}, "global", OutputsFilter),
        ({"observation": "outputs", "filter_scope": "global"}, "global", OutputsFilter),
    ],
)
def test_the_scope_goes_with_the_observation_where_none_is_given(given: dict[str, Any], scope: str, kind: type) -> None:
    values = resolve_hyperparameters("r-kalman", given)
    assert values["filter_scope"] == scope
    assert values["observation"] == given.get("observation", "samples")
    for options in (given, values):
        optimizer: Any = create_optimizer("r-kalman", mlp(), **options)
        assert type(optimizer._filter) is kind
        assert (optimizer.coverage() is None) == (scope == "global")


@pytest.mark.parametrize("observation", ["loss", "outputs"])
def test_a_filter_a_layer_without_rows_of_samples_says_what_to_choose(observation: Any) -> None:
    message = (
        f"filter_scope: filter_scope=layer keeps rows of samples, and observation={observation} has none. "
        "Choose observation=samples, or leave filter_scope out."
    )
    for make in (lambda given: RKalman(mlp(), **given), lambda given: resolve_hyperparameters("r-kalman", given)):
        with pytest.raises(HyperparameterError) as caught:
            make({"observation": observation, "filter_scope": "layer"})
        assert str(caught.value) == message


def test_the_signature_s_defaults_are_those_of_a_filter_a_layer() -> None:
    known = hyperparameters("r-kalman")
    assert known["observation"].default == "samples"
    assert known["filter_scope"].default is None
    assert known["curvature_batch"].default is None
    assert resolve_hyperparameters("r-kalman", {}) == resolve_hyperparameters("r-kalman", LAYER)
    assert MODES.keys() == FILTERS.keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"curvature_batch": 0.0}, "curvature_batch: must be a number or none, above 0 and at most 1; got 0.0"),
        ({"curvature_batch": 1.5}, "curvature_batch: must be a number or none, above 0 and at most 1; got 1.5"),
        (
            {"filter_scope": "laye"},
            "filter_scope: must be one of global, layer or none; got 'laye'. Did you mean 'layer'?",
        ),
    ],
)
def test_values_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=re.escape(message)):
        resolve_hyperparameters("r-kalman", given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**LOSS, "rows": 4}, "rows has no effect with observation=loss"),
        ({**LOSS, "noise": 1.0}, "noise has no effect with observation=loss"),
        ({**LOSS, "memory": 4}, "memory has no effect with observation=loss"),
        ({**LOSS, "other_lr": 0.01}, "other_lr has no effect with observation=loss"),
        ({**LOSS, "curvature_batch": 0.5}, "curvature_batch has no effect with observation=loss"),
        ({**GLOBAL, "noise_ema": 0.9}, "noise_ema has no effect with observation=samples"),
        ({**GLOBAL, "memory": 2}, "memory has no effect with observation=samples"),
        ({**GLOBAL, "curvature_batch": 0.5}, "curvature_batch has no effect with observation=samples"),
        ({"observation": "outputs", "rows": 2}, "rows has no effect with observation=outputs"),
        ({"observation": "outputs", "noise": 2.0}, "noise has no effect with observation=outputs"),
        ({"observation": "outputs", "curvature_batch": 0.5}, "curvature_batch has no effect with observation=outputs"),
        ({**LAYER, "initial_covariance": 0.1}, "initial_covariance has no effect with filter_scope=layer"),
        ({**LAYER, "forgetting": 0.99}, "forgetting has no effect with filter_scope=layer"),
        ({**LAYER, "noise": 1.0}, "noise has no effect with filter_scope=layer"),
        ({**LAYER, "covariance": "block"}, "covariance has no effect with filter_scope=layer"),
        ({**LAYER, "update": "none"}, "update has no effect with filter_scope=layer, which keeps rows instead"),
        ({"update": "none"}, f"update has no effect with {BY_ITSELF}, which keeps rows instead"),
        ({"covariance": "block"}, f"covariance has no effect with {BY_ITSELF}, which keeps rows instead"),
        ({"initial_covariance": 0.1}, f"initial_covariance has no effect with {BY_ITSELF}; got 0.1"),
        ({"observation": "samples", "noise": 1.0}, f"noise has no effect with {BY_ITSELF}; got 1.0"),
    ],
)
def test_what_has_no_effect_in_a_mode_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=re.escape(message)):
        RKalman(mlp(), **given)
    with pytest.raises(HyperparameterError, match=re.escape(message)):
        resolve_hyperparameters("r-kalman", given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (LOSS, {"lr": 2.0, "rho": 0.17, "initial_covariance": 0.14, "noise_ema": 0.9, "rows": None, "momentum": 0.9}),
        (GLOBAL, {"lr": 1.0, "rows": 32, "noise": 1.0, "noise_ema": None, "memory": None, "curvature_batch": None}),
        ({**LOSS, "update": "information"}, {"noise_ema": None, "forgetting": 0.9, "initial_covariance": 0.006}),
        (LAYER, {"lr": 0.0024, "rho": 0.06, "rows": 4, "memory": 8, "momentum": 0.9, "other_lr": 0.01}),
        (LAYER, {"curvature_batch": 0.125, "weight_decay": 0.0, "noise": None, "initial_covariance": None}),
        ({**LAYER, "rho": 0.0, "rows": 8}, {"rho": 0.0, "rows": 8, "initial_covariance": None}),
    ],
)
def test_resolved_hyperparameters_hold_the_mode_s_defaults_and_resolve_to_themselves(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    values = resolve_hyperparameters("r-kalman", given)
    assert {name: values[name] for name in expected} == expected
    assert resolve_hyperparameters("r-kalman", values) == values
