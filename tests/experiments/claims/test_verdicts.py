"""Claims held against experiments whose numbers are known: verdicts, and the statistics behind them by scipy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from grng.experiments.claims.config import ClaimConfig
from grng.experiments.claims.report import claim_columns, claim_remarks, claims_as_dicts, claims_markdown
from grng.experiments.claims.statements import parse_claims
from grng.experiments.claims.verdicts import JudgedClaim, judge_claims, remarks_of_few_seeds
from grng.report.load import load_experiment
from grng.statistics import holm
from tests.report.factory import make_experiment, make_run

ADAMW = [0.950, 0.952, 0.948, 0.951, 0.949]
RING = [0.958, 0.961, 0.957, 0.962, 0.956]  # about a point better, each time
NEVER: dict[str, Any] = {"target__step": None, "target__time_s": None}


def judge_all(root: Path, *claims: str) -> list[JudgedClaim]:
    experiment = load_experiment(root)
    return judge_claims(parse_claims([ClaimConfig(claim=text) for text in claims], experiment.labels), experiment)


def judge(root: Path, claim: str) -> JudgedClaim:
    return judge_all(root, claim)[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two rows, five seeds: ring is better, in fewer steps, and slower."""
    make_experiment(tmp_path, {"adamw": ADAMW, "ring": RING})
    for seed in range(5):
        common: dict[str, Any] = {"diagnostics": {"grad_norm": 1.0 + seed}}
        accuracy = {"adamw": ADAMW[seed], "ring": RING[seed]}
        steps, factor = (54 + 9 * (seed % 2), 60 + 9 * (seed % 3)), 1.2 + seed / 100
        make_run(tmp_path, "adamw", seed, final={"test_accuracy": accuracy["adamw"]}, time__step_ms=100.0 + seed,
                 target={"step": 2 * steps[1], "time_s": 10.0}, **common)  # fmt: skip
        make_run(tmp_path, "ring", seed, final={"test_accuracy": accuracy["ring"]},
                 time__step_ms=(100.0 + seed) * factor, target={"step": steps[0], "time_s": 9.0}, **common)  # fmt: skip
    return tmp_path


def test_a_difference_is_a_paired_t_test(root: Path) -> None:
    made = judge(root, "ring.test_accuracy > adamw.test_accuracy")
    expected = scipy.stats.ttest_rel(RING, ADAMW)
    interval = expected.confidence_interval(0.95)
    assert (made.verdict, made.method, made.n, made.bound) == ("supported", "difference", 5, 0)
    assert made.estimate == pytest.approx(np.mean(RING) - np.mean(ADAMW))
    assert made.p == made.p_adjusted == pytest.approx(expected.pvalue)
    assert (made.low, made.high) == pytest.approx((interval.low, interval.high))
    assert made.confidence == pytest.approx(0.95)
    assert made.values == pytest.approx({"ring.test_accuracy": np.mean(RING), "adamw.test_accuracy": np.mean(ADAMW)})


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("ring.test_accuracy < adamw.test_accuracy", "contradicted"),
        ("adamw.test_accuracy >= ring.test_accuracy", "contradicted"),
        ("adamw.test_accuracy + 0.004 < ring.test_accuracy", "supported"),
        ("ring.test_accuracy > adamw.test_accuracy + 0.009", "undecided"),
        ("ring.test_accuracy - adamw.test_accuracy > 0.05", "contradicted"),
        ("ring.test_accuracy > 0.95", "supported"),
        ("ring.test_accuracy = adamw.test_accuracy ± 0.02", "supported"),
        ("ring.test_accuracy = adamw.test_accuracy ± 0.001", "contradicted"),
        ("ring.test_accuracy = adamw.test_accuracy + 0.0085 ± 0.0005", "undecided"),
        ("ring.test_accuracy = adamw.test_accuracy + 0.009 within 0.005", "supported"),
        ("ring.steps_to_target < adamw.steps_to_target", "supported"),
        ("ring.steps_to_target < 0.1 * adamw.steps_to_target", "contradicted"),
        ("ring.step_ms <= 1.1 * adamw.step_ms", "contradicted"),
        ("ring.step_ms <= 1.3 * adamw.step_ms", "supported"),
        ("ring.step_ms <= 1.22 * adamw.step_ms", "undecided"),
        ("ring.grad_norm < adamw.grad_norm", "undecided"),
    ],
)
def test_verdicts(root: Path, claim: str, verdict: str) -> None:
    assert judge(root, claim).verdict == verdict


def test_a_ratio_is_tested_on_the_log_scale(root: Path) -> None:
    made = judge(root, "ring.step_ms <= 1.1 * adamw.step_ms")
    logs = np.log([1.2, 1.21, 1.22, 1.23, 1.24])
    expected = scipy.stats.ttest_1samp(logs, math.log(1.1))
    interval = expected.confidence_interval(0.95)
    assert made.method == "ratio"
    assert made.bound == pytest.approx(1.1)
    assert made.estimate == pytest.approx(scipy.stats.gmean([1.2, 1.21, 1.22, 1.23, 1.24]))
    assert made.p == pytest.approx(expected.pvalue)
    assert (made.low, made.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))


def test_equivalence_is_two_one_sided_tests(root: Path) -> None:
    made = judge(root, "ring.test_accuracy = adamw.test_accuracy ± 0.015")
    differences = np.array(RING) - np.array(ADAMW)
    expected = scipy.stats.ttest_1samp(differences, 0.015, alternative="less").pvalue
    assert made.method == "equivalence"
    assert made.p == pytest.approx(expected)
    assert made.confidence == pytest.approx(0.9)


def test_intervals_and_verdicts_agree_after_holm(root: Path) -> None:
    """Each claim's interval, at the level that it names, leaves the bound out exactly where it is decided."""
    bounds = [0, 0.002, 0.004, 0.006, 0.007, 0.0075, 0.008, 0.0085, 0.009, 0.01, 0.02]
    made = judge_all(root, *(f"ring.test_accuracy > adamw.test_accuracy + {bound}" for bound in bounds))
    differences = np.array(RING) - np.array(ADAMW)
    plain = [float(scipy.stats.ttest_1samp(differences, bound).pvalue) for bound in bounds]
    assert [one.p for one in made] == pytest.approx(plain)
    assert [one.p_adjusted for one in made] == pytest.approx(holm(plain))
    assert {one.verdict for one in made} == {"supported", "undecided", "contradicted"}
    for one in made:
        assert None not in (one.low, one.high, one.bound, one.confidence)
        assert 0.95 - 1e-12 <= (one.confidence or 0) <= 1 - 0.05 / len(bounds) + 1e-12
        outside = not (one.low or 0) < (one.bound or 0) < (one.high or 0)
        assert outside == (one.verdict != "undecided")
    alone = judge(root, "ring.test_accuracy > adamw.test_accuracy + 0.006")
    assert (alone.verdict, made[3].verdict) == ("supported", "undecided"), "ten other claims cost it its verdict"


def test_a_target_never_reached_is_infinity_in_a_sign_test(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 8, "ring": [0.9] * 8})
    for seed in range(8):
        make_run(tmp_path, "adamw", seed, **(NEVER if seed % 2 else {"target__step": 80 + seed}))
    made = judge(tmp_path, "ring.steps_to_target < adamw.steps_to_target")
    exact = scipy.stats.binomtest(8, 8)
    interval = exact.proportion_ci(0.95, "exact")
    assert (made.verdict, made.method, made.estimate, made.n) == ("supported", "sign", 1.0, 8)
    assert made.p == pytest.approx(exact.pvalue)
    assert (made.low, made.high) == pytest.approx((interval.low, interval.high))
    assert made.values == {"ring.steps_to_target": 54.0, "adamw.steps_to_target": math.inf}
    against = judge(tmp_path, "ring.steps_to_target >= adamw.steps_to_target")
    assert (against.verdict, against.estimate) == ("contradicted", 0.0)
    equal = judge(tmp_path, "ring.steps_to_target = adamw.steps_to_target ± 5")
    assert equal.verdict == "undecided"
    assert "infinite" in equal.remarks[0]
    for seed in range(8):
        make_run(tmp_path, "ring", seed, **NEVER)
    nobody = judge(tmp_path, "ring.steps_to_target < 100 * adamw.steps_to_target")
    # adamw got there in four seeds, the others are ties.
    assert (nobody.verdict, nobody.estimate, nobody.p) == ("undecided", 0.0, 2 / 16)


def test_seeds_that_all_say_the_same_have_no_spread_and_are_counted(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9] * 3, "ring": [0.91] * 3})
    made = judge(tmp_path, "ring.test_accuracy > adamw.test_accuracy")
    assert (made.verdict, made.method, made.p) == ("undecided", "sign", 0.25), "no t test calls this certain"
    equal = judge(tmp_path, "ring.test_loss < adamw.test_loss")
    assert (equal.method, equal.p, equal.estimate) == ("sign", 1.0, 0.5)
    same = judge(tmp_path, "ring.test_loss = adamw.test_loss ± 0.1")
    assert (same.verdict, same.p) == ("undecided", None)


def test_diverged_runs_count_as_never_reaching_and_keep_their_row_from_being_called_better(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [*ADAMW, 0.9], "ring": [*RING, 0.9]})
    gone: dict[str, Any] = {"status": "diverged", "reason": "nan", "steps": 10, "final__test_accuracy": None}
    make_run(tmp_path, "ring", 5, **gone, **NEVER, pairing__batches_sha256="x")
    better = judge(tmp_path, "ring.test_accuracy > adamw.test_accuracy")
    assert (better.verdict, better.n) == ("undecided", 5)
    assert better.remarks == ("1 run of ring diverged, and what is left is a selection",)
    worse = judge(tmp_path, "adamw.test_accuracy >= ring.test_accuracy")
    assert worse.verdict == "undecided", "to contradict this is to call ring better, too"
    assert judge(tmp_path, "ring.test_accuracy > 0.99").verdict == "contradicted"
    steps = judge(tmp_path, "ring.steps_to_target <= adamw.steps_to_target")
    assert (steps.n, steps.method) == (6, "sign")
    make_run(tmp_path, "ring", 5)
    make_run(tmp_path, "adamw", 5, **gone, **NEVER, pairing__batches_sha256="x")
    assert judge(tmp_path, "ring.test_accuracy > adamw.test_accuracy").verdict == "supported"


def test_what_is_no_fair_pair_or_was_not_measured_is_left_out_aloud(root: Path) -> None:
    make_run(root, "ring", 1, final__test_accuracy=0.5, pairing__init_sha256="x")
    made = judge(root, "ring.test_accuracy > adamw.test_accuracy")
    assert (made.n, made.remarks) == (4, ("seed 1: different initial weights",))
    assert judge(root, "ring.test_accuracy > 0.3").n == 5, "a row alone needs no pair"
    missing = judge(root, "ring.hessian_max < adamw.hessian_max")
    assert (missing.verdict, missing.n, missing.p) == ("undecided", 0, None)
    assert "seeds 0, 2, 3, 4: ring.hessian_max was not measured" in missing.remarks


def test_times_that_cannot_be_compared_are_not(root: Path) -> None:
    make_run(root, "ring", 2, time__shared=True)
    made = judge(root, "ring.step_ms < adamw.step_ms")
    assert (made.verdict, made.p) == ("undecided", None)
    assert made.remarks == ("times are not comparable: ring ran with cores or device shared with other runs",)
    for seed in range(5):
        make_run(root, "ring", seed, environment__threads=2)
    made = judge(root, "ring.step_ms < adamw.step_ms")
    assert made.remarks == ("times are not comparable: adamw ran on another device or number of threads than ring",)
    assert judge(root, "ring.steps_to_target < adamw.steps_to_target").p is not None


def test_one_seed_decides_nothing_and_that_is_said_before(tmp_path: Path) -> None:
    make_experiment(tmp_path, {"adamw": [0.9], "ring": [0.95]})
    for claim in (
        "ring.test_accuracy > adamw.test_accuracy",
        "ring.test_accuracy = 0.95 ± 0.1",
        "ring.steps_to_target < 9",
    ):
        made = judge(tmp_path, claim)
        assert (made.verdict, made.p, made.low, made.n) == ("undecided", None, None, 1)
        assert made.remarks == ("a single seed has no spread",)
    assert remarks_of_few_seeds(1, claims=2, margin=0.01) == ["2 claims and equivalence cannot be decided with 1 seed"]
    assert remarks_of_few_seeds(2, claims=2, margin=0.01) == remarks_of_few_seeds(1, claims=0, margin=None) == []


def test_false_verdicts_stay_below_the_level() -> None:
    """On pairs without a difference, of five claims hardly one in twenty families has any verdict."""
    from grng.experiments.claims.statements import parse_claim
    from grng.experiments.claims.values import Sides
    from grng.experiments.claims.verdicts import _decided, _estimated

    claim = parse_claim(ClaimConfig(claim="a.val_loss < b.val_loss"), ["a", "b"])
    generator = np.random.default_rng(0)

    def family() -> Sequence[str]:
        sides = [Sides({}, generator.normal(size=6).tolist(), generator.normal(size=6).tolist()) for _ in range(5)]
        made = [_estimated(claim, one) for one in sides]
        adjusted = holm([one.p for one in made])
        return [_decided(one, side, p, 5).verdict for one, side, p in zip(made, sides, adjusted, strict=True)]

    false = np.mean([any(verdict != "undecided" for verdict in family()) for _ in range(1000)])
    assert false < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1000)
    assert false > 0.02, "and it is no less strict than it says"


def test_the_table_of_claims_in_every_form(root: Path) -> None:
    texts = (
        "ring.test_accuracy > adamw.test_accuracy",
        "ring.step_ms <= 1.1 * adamw.step_ms",
        "ring.hessian_max < 3",
        "ring.test_accuracy = adamw.test_accuracy ± 0.05",
    )
    made = judge_all(root, *texts)
    columns = {column.title: column.cells for column in claim_columns(made)}
    assert columns["claim"] == texts
    assert columns["verdict"] == ("supported", "contradicted", "undecided", "supported")
    assert columns["estimate"][0].startswith("difference 0.00880 [0.00")
    assert columns["estimate"][1].startswith("ratio 1.22 [1.")
    assert columns["estimate"][1].endswith("] to 1.10")
    assert columns["estimate"][2] == "–"
    assert columns["estimate"][3].endswith("to 0 ± 0.0500")
    remarks = claim_remarks(made)
    assert remarks[0].startswith("ring.hessian_max < 3: no seed in which all")
    assert "Holm's correction for 3 claims" in remarks[-1]
    text = claims_markdown(made)
    assert text.startswith("| claim | verdict |")
    assert text.count("\n|") == 5
    document = json.loads(json.dumps(claims_as_dicts(made), allow_nan=False))
    assert [one["verdict"] for one in document] == list(columns["verdict"])
    assert document[2]["estimate"] is None
    assert document[3]["margin"] == 0.05
