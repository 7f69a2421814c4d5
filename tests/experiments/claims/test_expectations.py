from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grng.errors import GrngError
from grng.experiments.claims.expectations import Outcome, parse
from grng.report.row import FIELDS, Row
from grng.report.tables import Table

BRACKETED = "ring[rho=0.1,damping=0.01]"
ROWS = (
    Row("adamw", is_reference=True, n=3, test_accuracy=0.97, steps_to_target=80.0, difference=0.0),
    Row("ring", n=3, test_accuracy=0.96, steps_to_target=40.0, test_accuracy_low=0.95),
    Row(BRACKETED, n=3, test_accuracy=0.5),
    Row("r-kalman", n=2, diverged=1, test_accuracy=0.25),
    Row("r", n=3, test_accuracy=7.0),
    Row("kalman", n=3, test_accuracy=5.0),
    Row("timm:muon", n=3, step_ratio=1.5),
    Row("a.b", n=11),
    Row("a", n=5),
    Row("2x ring (-1)", n=13),
    Row("-r", n=17),
    Row("kfac", diverged=3, steps_to_target=math.inf),
    Row("sgd", n=1, test_accuracy=0.9, steps_to_target=math.inf),
)
LABELS = [row.label for row in ROWS]


def make_table(rows: tuple[Row, ...] = ROWS) -> Table:
    return Table(rows, rows[0].label, "test_resnet", "mnist5k", 0.95, (0, 1, 2), 1, ("A CPU",), (), ())


def outcome(text: str) -> Outcome:
    return parse(text, LABELS).evaluate(make_table())


def problem(text: str) -> GrngError:
    with pytest.raises(GrngError) as caught:
        parse(text, LABELS)
    return caught.value


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("ring.test_accuracy > adamw.test_accuracy - 0.02", True),
        ("ring.test_accuracy > adamw.test_accuracy - 0.005", False),
        ("ring.test_accuracy>adamw.test_accuracy-0.02", True),
        ("ring.n <= 3", True),
        ("ring.n < 3", False),
        ("ring.n >= 3", True),
        ("ring.n > 3", False),
        (f"{BRACKETED}.test_accuracy < ring.test_accuracy", True),
        ("r-kalman.test_accuracy < 1", True),
        ("r.test_accuracy-kalman.test_accuracy >= 2", True),
        ("r.test_accuracy - kalman.test_accuracy > 2", False),
        ("timm:muon.step_ratio <= 1.5", True),
        ("a.b.n > 10", True),
        ("a.n < 10", True),
        ("2x ring (-1).n >= 13", True),
        ("-r.n > 0", True),
        ("-(r.n) > 0", False),
        ("0 < ring.steps_to_target * 2 × 1", True),
        ("2 * (1 + 3) <= 8", True),
        ("2 + 2 * 3 >= 9", False),
        ("10 - 3 - 2 >= 6", False),
        ("--1 > -.5e0", True),
        ("2-ring.n < 0", True),
        ("ring.steps_to_target < adamw.steps_to_target*0.6", True),
        ("sgd.steps_to_target > adamw.steps_to_target", True),
        ("sgd.steps_to_target < 1e300", False),
    ],
)
def test_what_holds_and_what_does_not(text: str, holds: bool) -> None:
    assert outcome(text).holds is holds


def test_the_measured_values_are_told() -> None:
    made = outcome("ring.test_accuracy > adamw.test_accuracy - 0.02 + 0 * ring.test_accuracy")
    assert made.values == {"ring.test_accuracy": 0.96, "adamw.test_accuracy": 0.97}
    assert made.text == "ring.test_accuracy > adamw.test_accuracy - 0.02 + 0 * ring.test_accuracy"
    assert made.explanation == "ring.test_accuracy = 0.9600, adamw.test_accuracy = 0.9700; 0.9600 > 0.9500 holds"


def test_digits_are_shown_until_the_sides_differ() -> None:
    assert outcome("0.12345678 < 0.12345671").explanation == "0.1234568 < 0.1234567 does not hold"
    assert outcome("3 < 3").explanation == "3.000 < 3.000 does not hold"


def test_runs_that_the_mean_leaves_out_are_told() -> None:
    made = outcome("r-kalman.test_accuracy < 1")
    assert made.holds
    assert made.explanation.endswith("holds; r-kalman: over 2 runs that finished, 1 diverged")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kfac.test_accuracy > 0", "kfac.test_accuracy has no value: no run of kfac finished (0, 3 diverged)"),
        ("kfac.test_accuracy < 1", "kfac.test_accuracy has no value: no run of kfac finished (0, 3 diverged)"),
        ("adamw.p_value < 1", "adamw.p_value has no value: adamw is the reference"),
        ("sgd.test_accuracy_low > 0", "sgd.test_accuracy_low has no value: a single run has no interval"),
    ],
)
def test_a_missing_value_makes_it_not_hold(text: str, reason: str) -> None:
    made = outcome(text)
    assert not made.holds
    assert reason in made.explanation
    assert list(made.values.values()) == [None]


def test_a_row_that_the_table_lost_makes_it_not_hold() -> None:
    made = parse("ring.n > 0", LABELS).evaluate(make_table(ROWS[:1]))
    assert (made.holds, made.explanation) == (False, "ring.n has no value: the table has no such row")


@pytest.mark.parametrize("comparison", ["<", ">", "<=", ">="])
def test_infinity_less_infinity_holds_never(comparison: str) -> None:
    made = outcome(f"sgd.steps_to_target - kfac.steps_to_target {comparison} 0")
    assert not made.holds
    assert "not defined" in made.explanation


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rnig.test_accuracy > 0", "there is no row 'rnig'", "Did you mean 'ring'?"),
        (
            "ring[rho=0.1,damping=0.02].n > 0",
            "there is no row 'ring[rho=0.1,damping=0.02]'",
            f"Did you mean {BRACKETED!r}?",
        ),
        ("zzz.n > 0", "there is no row 'zzz'", "The rows are adamw, ring"),
        ("2ring.n > 0", "there is no row '2ring'", "Did you mean 'ring'?"),
        ("ring.test_acuracy > 0", "a row has no field 'test_acuracy'", "Did you mean 'test_accuracy'"),
        ("ring.zzz > 0", "a row has no field 'zzz'", "Fields are n, diverged"),
        ("ring > 0", "a field is missing after 'ring'", "Write it like"),
        ("ring.n", "expected one of < <= > >=", "Write it like"),
        ("ring.n == 3", "expected one of < <= > >=", "use <= or >="),
        ("ring.n != 3", "expected one of < <= > >=", "use <= or >="),
        ("ring.n / 2 > 1", "expected one of < <= > >=", "multiply the other side"),
        ("0 < ring.n < 3", "only one comparison is possible", "several times"),
        ("0 < ring.n 3", "expected + - * or the end", ""),
        ("0 < (ring.n", "expected )", ""),
        ("0 <", "expected a row's field, a number or (", "Write it like"),
        ("", "expected a row's field, a number or ( (it is empty)", "Write it like"),
        ("1e999 > 0", "the number is too large", ""),
        ("1_000 > 0", "expected a row's field, a number or (", ""),
        ("(" * 100 + "1", "too many parentheses", ""),
        ("-" * 3000 + "1 > 0", "too many parentheses", ""),
        ("1" * 6000, "longer than 5000 characters", ""),
        ("__import__('os').system('x') > 0", "expected a row's field, a number or (", ""),
        ("ring.__class__ > 0", "a row has no field '__class__'", ""),
        ("ring.verdict > 0", "a row has no field 'verdict'", ""),
    ],
)
def test_what_does_not_parse_says_why(text: str, message: str, hint: str) -> None:
    error = problem(text)
    assert error.message.startswith(message)
    assert hint in (error.hint or "")
    assert error.where == "--expect"
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ring.n > rnig.n", 9),
        ("ring.n > ring.nn", 14),
        ("ring.n > ring", 13),
        ("ring.n ! 3", 7),
        ("0 < ring.n < 3", 11),
        ("x" * 200 + "!", 0),
    ],
)
def test_a_caret_shows_where(text: str, place: int) -> None:
    _, shown, caret = problem(text).message.split("\n")
    assert caret.index("^") - 4 == place
    assert shown[4:].startswith(text[:60])


def test_a_caret_far_out_shows_its_surroundings() -> None:
    _, shown, caret = problem("0 + " * 100 + "? > 0").message.split("\n")
    assert shown[caret.index("^")] == "?"
    assert len(shown) < 130


def test_a_long_sum_is_no_deep_one() -> None:
    assert outcome("1" + "+1" * 2000 + " >= 2001").holds


# As the config's schema has them: printable, no blanks around.
label_texts = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable() and text == text.strip())


@given(st.text(max_size=60))
def test_any_text_parses_or_is_a_users_error(text: str) -> None:
    _parse_or_users_error(text)


@given(
    st.lists(
        st.sampled_from(
            [
                *LABELS,
                ".",
                "n",
                "test_accuracy",
                "<",
                ">",
                "=",
                "-",
                "+",
                "*",
                "×",
                "(",
                ")",
                " ",
                "1",
                "0.5",
                "e9",
                "[",
                "]",
            ]
        ),
        max_size=30,
    )
)
def test_any_mixture_of_our_own_words_parses_or_is_a_users_error(words: list[str]) -> None:
    _parse_or_users_error("".join(words))


@given(st.lists(label_texts, max_size=4), st.text(max_size=30))
def test_any_labels_will_do(labels: list[str], text: str) -> None:
    _parse_or_users_error(text, labels)
    for label in labels:
        assert [str(r) for r in parse(f"{label}.n > 0", labels).references] == [f"{label}.n"]


def _parse_or_users_error(text: str, labels: list[str] | None = None) -> None:
    try:
        expectation = parse(text, LABELS if labels is None else labels)
    except GrngError:
        return
    assert isinstance(expectation.evaluate(make_table()).holds, bool)


COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NAMES = {
    f"{row.label}.{field}": float(value)
    for row in ROWS
    for field in ("n", "test_accuracy", "diverged")
    if (value := row.numbers[field]) is not None
}
leaves = st.sampled_from(sorted(NAMES)).map(lambda name: (name, repr(NAMES[name]))) | st.one_of(
    st.integers(0, 1000).map(str), st.floats(0.001, 1000).map(lambda value: f"{value:.4f}"), st.just("2.5e-1")
).map(lambda text: (text, text))


def _grow(children: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    """Pairs of our text and Python's for the same expression; blanks must not matter."""
    blank = st.sampled_from(["", " ", "  "])
    binary = st.tuples(children, blank, st.sampled_from("+-*×"), blank, children).map(
        lambda t: (f"{t[0][0]}{t[1]}{t[2]}{t[3]}{t[4][0]}", f"{t[0][1]} {t[2].replace('×', '*')} {t[4][1]}")
    )
    wrapped = children.map(lambda pair: (f"({pair[0]})", f"({pair[1]})"))
    # In Python too, a minus binds tighter than what comes after it; "-r" is a row's name, hence the blank.
    negated = children.map(lambda pair: (f"- {pair[0]}", f"-{pair[1]}"))
    return binary | wrapped | negated


expressions = st.recursive(leaves, _grow, max_leaves=12)


@given(expressions, st.sampled_from(sorted(COMPARISONS)), expressions)
def test_well_formed_expectations_agree_with_pythons_arithmetic(
    left: tuple[str, str], comparison: str, right: tuple[str, str]
) -> None:
    # Only texts generated above get here; they hold nothing but numbers and operators.
    expected = COMPARISONS[comparison](eval(left[1], {"__builtins__": {}}), eval(right[1], {"__builtins__": {}}))
    made = outcome(f"{left[0]} {comparison} {right[0]}")
    assert made.holds is expected
    assert made.values == {name: NAMES[name] for name in made.values}


def test_every_field_can_be_named() -> None:
    for field in FIELDS:
        assert str(parse(f"ring.{field} > 0", LABELS).references[0]) == f"ring.{field}"
