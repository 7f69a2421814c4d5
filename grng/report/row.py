"""One optimizer's row of numbers: the vocabulary of `--expect`, of CSV and of JSON. Names and meanings are stable.

How runs enter, everywhere:

- Scores, costs and differences are over the runs that *finished*. A diverged run has no final score, and putting in the
  score of chance would be as arbitrary as leaving the run out; so it is left out of the means and *counted* in
  `diverged`, and a row with a diverged or failed run never gets the verdict "better": what survives is a selection.
- For steps and time to the target, a run that ended without reaching it (diverged ones too) counts as infinity, so that
  not reaching it makes a row worse and never better. Failed and unfinished runs say nothing and are left out.
- A value that does not exist (nothing finished, a single seed's interval) is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """What a field of the table is.

    Attributes:
        name: As in `--expect`, CSV and JSON.
        unit: Of the number; "" for counts and ratios.
        meaning: One phrase.
    """

    name: str
    unit: str
    meaning: str


def _count(meaning: str) -> Any:
    return field(default=0, metadata={"unit": "", "meaning": meaning})


def _number(unit: str, meaning: str) -> Any:
    return field(default=None, metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Row:
    """The numbers of one label; intervals are over seeds at 95 %, those of ratios on the log scale.

    Attributes:
        label: The row's name.
        is_reference: Whether the others are compared with it.
        verdict: "better", "worse", "not distinguishable with n = 3", "equivalent within ±0.5 points" or "better, but
            within …" where there is a margin, or why there is none; "" for the reference.
        time_mark: Why the times are not comparable with the reference's; "" when they are.
    """

    label: str
    is_reference: bool = False
    verdict: str = ""
    time_mark: str = ""

    n: int = _count("runs that finished")
    diverged: int = _count("runs that diverged")
    failed: int = _count("runs that failed: crash, out of memory, time limit")
    unfinished: int = _count("runs that are missing, interrupted, going on or unreadable")
    pairs: int = _count("seeds in the paired comparison with the reference")
    tuning_trials: int = _count("trials of the sweep that its values come from; 0: it was not tuned")

    test_accuracy: float | None = _number("fraction", "mean test accuracy")
    test_accuracy_low: float | None = _number("fraction", "low end of its interval")
    test_accuracy_high: float | None = _number("fraction", "high end of its interval")
    test_loss: float | None = _number("nats", "mean test loss")
    test_loss_low: float | None = _number("nats", "low end of its interval")
    test_loss_high: float | None = _number("nats", "high end of its interval")
    train_loss: float | None = _number("nats", "mean training loss over the last epoch")
    train_loss_low: float | None = _number("nats", "low end of its interval")
    train_loss_high: float | None = _number("nats", "high end of its interval")
    val_accuracy: float | None = _number("fraction", "mean validation accuracy at the end")
    val_accuracy_low: float | None = _number("fraction", "low end of its interval")
    val_accuracy_high: float | None = _number("fraction", "high end of its interval")
    val_loss: float | None = _number("nats", "mean validation loss at the end")
    best_val_accuracy: float | None = _number("fraction", "mean of each run's highest validation accuracy")

    difference: float | None = _number("fraction", "mean paired difference to the reference in test accuracy")
    difference_low: float | None = _number("fraction", "low end of its interval")
    difference_high: float | None = _number("fraction", "high end of its interval")
    p_value: float | None = _number("", "exact two-sided sign-flip p of the paired differences")
    p_adjusted: float | None = _number("", "the same, Holm-adjusted for the comparisons of the table")
    effect_size: float | None = _number("", "Cohen's d_z of the paired differences, corrected for few seeds")
    win_share: float | None = _number("fraction", "share of the seeds in which it is ahead; ties count half")
    p_equivalence: float | None = _number("", "p of two one-sided t tests: is the difference within the margin?")
    p_equivalence_adjusted: float | None = _number("", "the same, Holm-adjusted")

    target_runs: int = _count("runs that finished or diverged, with a target")
    reached: int = _count("of those, the runs that reached the target")
    steps_to_target: float | None = _number("steps", "median steps to the target, never reached counting as infinity")
    time_to_target: float | None = _number("s", "median training time to the target; runs with shared cores left out")
    steps_to_target_ratio: float | None = _number("", "geometric mean of paired ratios to the reference; all reached")
    steps_to_target_ratio_low: float | None = _number("", "low end of its interval")
    steps_to_target_ratio_high: float | None = _number("", "high end of its interval")
    time_to_target_ratio: float | None = _number("", "geometric mean of paired ratios to the reference; all reached")
    time_to_target_ratio_low: float | None = _number("", "low end of its interval")
    time_to_target_ratio_high: float | None = _number("", "high end of its interval")

    steps: float | None = _number("steps", "mean steps done")
    step_ms: float | None = _number("ms", "mean time of a whole training step, amortised")
    step_ratio: float | None = _number("", "geometric mean of its paired ratios to the reference")
    step_ratio_low: float | None = _number("", "low end of its interval")
    step_ratio_high: float | None = _number("", "high end of its interval")
    train_time_s: float | None = _number("s", "mean time on the training clock, evaluation and logging excluded")
    total_time_s: float | None = _number("s", "mean time from start to end")
    memory_growth_mb: float | None = _number("MB", "mean growth of memory while training")
    memory_peak_mb: float | None = _number("MB", "mean peak memory")
    state_bytes_per_parameter: float | None = _number("bytes", "optimizer state per trainable parameter")

    # What `diagnostics` measured last, of runs that measured it (docs/diagnostics.md).
    hessian_max: float | None = _number("nats", "mean largest eigenvalue of the sample's Hessian at the end")
    hessian_max_low: float | None = _number("nats", "low end of its interval")
    hessian_max_high: float | None = _number("nats", "high end of its interval")
    hessian_trace: float | None = _number("nats", "mean trace of the sample's Hessian at the end")
    hessian_trace_low: float | None = _number("nats", "low end of its interval")
    hessian_trace_high: float | None = _number("nats", "high end of its interval")
    grad_norm: float | None = _number("nats", "mean norm of the sample's gradient at the end")
    grad_norm_low: float | None = _number("nats", "low end of its interval")
    grad_norm_high: float | None = _number("nats", "high end of its interval")
    step_cosine: float | None = _number("", "mean cosine between the last step and the sample's -gradient")
    step_cosine_low: float | None = _number("", "low end of its interval")
    step_cosine_high: float | None = _number("", "high end of its interval")
    grad_correlation_consecutive: float | None = _number("", "mean correlation of the last two mini-batch gradients")
    grad_correlation_consecutive_low: float | None = _number("", "low end of its interval")
    grad_correlation_consecutive_high: float | None = _number("", "high end of its interval")
    grad_correlation_sample: float | None = _number(
        "", "mean correlation of the last mini-batch gradient with the sample's"
    )
    grad_correlation_sample_low: float | None = _number("", "low end of its interval")
    grad_correlation_sample_high: float | None = _number("", "high end of its interval")
    diagnostics_s: float | None = _number("s", "mean time spent on diagnostics, outside the training clock")

    @property
    def numbers(self) -> dict[str, float | int | None]:
        """All numeric fields by name, in the order of `FIELDS`."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS: Mapping[str, FieldInfo] = {
    item.name: FieldInfo(item.name, item.metadata["unit"], item.metadata["meaning"])
    for item in fields(Row)
    if item.metadata
}
"""Every numeric field of a row, in order: what `--expect` may name and CSV and JSON hold."""
