"""The grammar of claims: what parses, into what, and what is said of what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grng.errors import ConfigError, GrngError
from grng.experiments.claims.config import ClaimConfig
from grng.experiments.claims.fields import CLAIM_FIELDS
from grng.experiments.claims.grammar import Reference
from grng.experiments.claims.statements import Claim, parse_claim, parse_claims
from grng.report.row import FIELDS
from tests.report.factory import make_result

LABELS = ["adamw", "ring", "r-kalman", "ring[rho=0.1,damping=0.01]"]


def parsed(text: str) -> Claim:
    return parse_claim(ClaimConfig(claim=text), LABELS)


def terms(claim: Claim) -> tuple[dict[str, float], float]:
    """The difference of the sides: coefficients by field, and the constant."""
    difference = claim.difference
    return {str(one): c for one, c in difference.coefficients.items()}, difference.constant


@pytest.mark.parametrize(
    ("text", "coefficients", "constant"),
    [
        ("ring.test_accuracy > adamw.test_accuracy", {"ring.test_accuracy": 1, "adamw.test_accuracy": -1}, 0),
        ("r-kalman.step_ms <= 1.1 * adamw.step_ms", {"r-kalman.step_ms": 1, "adamw.step_ms": -1.1}, 0),
        ("ring.val_loss - 2 < -(adamw.val_loss*2×3 - 1)", {"ring.val_loss": 1, "adamw.val_loss": 6}, -3),
        ("2*(ring.val_loss + 1)*3 >= ring.val_loss", {"ring.val_loss": 5}, 6),
        ("ring[rho=0.1,damping=0.01].steps < 100", {"ring[rho=0.1,damping=0.01].steps": 1}, -100),
        ("ring.val_loss = adamw.val_loss ± 0.01", {"ring.val_loss": 1, "adamw.val_loss": -1}, 0),
        ("0*adamw.steps + ring.steps < 3", {"ring.steps": 1}, -3),
    ],
)
def test_a_claim_is_a_linear_inequality(text: str, coefficients: dict[str, float], constant: float) -> None:
    found, rest = terms(parsed(text))
    assert found == pytest.approx(coefficients)
    assert rest == pytest.approx(constant)


@pytest.mark.parametrize("text", ["ring.steps = 3 ± 0.5", "ring.steps==3±0.5", "ring.steps = 3 within 0.5"])
def test_an_equality_has_a_margin(text: str) -> None:
    claim = parsed(text)
    assert (claim.comparison, claim.margin, claim.name) == ("=", 0.5, text)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("r-kalman.step_ms <= 1.1 * adamw.step_ms", 1.1),
        ("2 * ring.steps_to_target < adamw.steps_to_target", 0.5),
        ("ring.test_accuracy < 1.1 * adamw.test_accuracy", None),
        ("ring.step_ms < adamw.step_ms + 3", None),
        ("ring.step_ms < -1 * adamw.step_ms", None),
        ("ring.step_ms < 100", None),
        ("ring.step_ms < 2 * ring.step_ms", None),
        ("ring.step_ms = adamw.step_ms ± 3", None),
    ],
)
def test_positive_quantities_are_compared_by_their_ratio(text: str, bound: float | None) -> None:
    ratio = parsed(text).ratio
    assert (ratio and ratio[2]) == bound


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rnig.steps < 3", "there is no row 'rnig' (column 1)", "Did you mean 'ring'?"),
        ("ring.step < 3", "a run has no 'step' of its own that a claim could be about (column 6)", "'steps'"),
        ("3 > ring.p_value", "a run has no 'p_value' of its own that a claim could be about (column 10)", "Fields are"),
        ("ring.steps", "expected one of < <= > >= = (column 11)", "Write it like"),
        ("ring.steps != 3", "expected one of < <= > >= = (column 12)", "Say which is larger"),
        ("ring.steps = 3", "= needs a margin (column 15)", "± 0.005"),
        ("ring.steps = 3 ± 0", "the margin must be above 0 (column 19)", ""),
        ("ring.steps = 3 ± x", "expected a row's field, a number or ( (column 18)", ""),
        ("ring.steps < 3 ± 1", "a margin belongs to = (column 17)", "Add it to a side"),
        ("ring.steps * adamw.steps < 3", "a field times a field cannot be tested (column 14)", "by numbers only"),
        ("3 < (ring.steps + 1) * (2 - ring.steps)", "a field times a field cannot be tested (column 24)", ""),
        ("1 < 2", "nothing measured is compared (column 1)", "Write it like"),
        ("ring.steps < ring.steps", "nothing measured is compared (column 1)", "Write it like"),
        ("1 < ring.steps < 2", "only one comparison is possible (column 16)", "two claims"),
        ("ring.steps < 1e300 * 1e300", "the numbers are too large (column 1)", ""),
        ("x" * 6000, "longer than 5000 characters", "Write it like"),
    ],
)
def test_what_does_not_parse_says_why_and_where(text: str, message: str, hint: str) -> None:
    with pytest.raises(GrngError) as caught:
        parsed(text)
    assert caught.value.message.partition("\n")[0] == message
    assert hint in (caught.value.hint or "")
    assert caught.value.where == "--claim"


def test_all_claims_are_checked_and_each_knows_its_place() -> None:
    claims = [ClaimConfig(claim="ring.steps < 3"), ClaimConfig(claim="rnig.steps < 3"), ClaimConfig(claim="3")]
    with pytest.raises(ConfigError) as caught:
        parse_claims(claims, LABELS, locate=lambda key: f"x.yaml:{key[-1]}")
    assert [problem.where for problem in caught.value.problems] == ["x.yaml:1", "x.yaml:2"]


def test_a_name_stands_for_the_text() -> None:
    claim = parse_claim(ClaimConfig(claim="ring.steps < 3", name="few steps"), LABELS)
    assert (claim.name, claim.text) == ("few steps", "ring.steps < 3")
    assert parsed("ring.steps\n  < 3").name == "ring.steps < 3", "a line in tables"
    assert claim.references == [Reference("ring", "steps")]


def test_what_claims_are_about_are_fields_of_the_table_and_of_every_result(tmp_path: Path) -> None:
    assert set(CLAIM_FIELDS) <= set(FIELDS)
    result = make_result(diagnostics=dict.fromkeys(("hessian_max", "hessian_trace", "grad_norm"), 1.0))
    for name, known in CLAIM_FIELDS.items():
        value = known.get(result)
        assert value is None or value >= 0, name
        assert (value is None) == (name in ("step_cosine", "grad_correlation_consecutive", "grad_correlation_sample"))


words = st.lists(
    st.sampled_from(
        ["ring", "adamw", ".", "steps", ".step_ms", "<", "=", "±", "within", "+", "-", "*", "(", ")", " ", "1", "0.5"]
    ),
    max_size=20,
)


@settings(max_examples=60)
@given(st.one_of(st.text(max_size=40), words.map("".join)))
def test_any_text_parses_or_is_a_users_error(text: str) -> None:
    try:
        claim = parse_claim(ClaimConfig.model_construct(claim=text, name=None), LABELS)
    except GrngError:
        return
    assert claim.references
