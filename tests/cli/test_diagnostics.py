"""`--diagnostics`, `--diagnostics-every` and `--columns` end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grng.diagnostics.names import DIAGNOSTICS
from tests.cli.conftest import TINY, Call, snapshot

MEASURED = ("--set", "diagnostics.samples=32", "--set", "diagnostics.batch=32", "--set", "diagnostics.iterations=2")


def test_a_run_shows_what_it_measured_and_is_not_another_run(grng: Call, workdir: Path) -> None:
    line = ("train", *TINY, "--optimizer", "sgd", "--output", "run")
    ran = grng(*line, "--diagnostics", "all", "--diagnostics-every", 2, *MEASURED)
    assert ran.code == 0, ran.err
    result = json.loads((workdir / "run" / "result.json").read_text())["diagnostics"]
    assert (result["step"], result["samples"]) == (3, 32)
    assert None not in result.values()
    assert f"gradient norm {result['grad_norm']:.4g}" in " ".join(ran.out.split())
    assert f"Hessian trace {result['hessian_trace']:.4g} ± {result['hessian_trace_se']:.4g}" in " ".join(
        ran.out.split()
    )
    assert all(info.title in ran.out for info in DIAGNOSTICS.values())
    again = grng(*line)
    assert again.code == 0
    assert "reused" in again.err


def test_a_reused_run_that_did_not_measure_says_so(grng: Call, workdir: Path) -> None:
    line = ("train", *TINY, "--optimizer", "sgd", "--output", "run")
    assert grng(*line).code == 0
    asked = ("--diagnostics", "grad_norm,step_cosine", "--diagnostics-every", 2, *MEASURED)
    ran = grng(*line, *asked)
    assert "its result has no grad_norm, step_cosine; do it again with --rerun" in ran.err
    ran = grng(*line, *asked, "--rerun")
    assert "warning" not in ran.err
    assert "gradient norm" in ran.out


def test_a_comparison_has_the_columns_of_what_it_measures(grng: Call, workdir: Path) -> None:
    ran = grng(
        *("compare", *TINY, "--optimizers", "sgd,adamw", "--seeds", 2, "--workers", 0, "--output", "x"),
        *("--diagnostics", "grad_norm,grad_correlation_sample", "--diagnostics-every", 2, *MEASURED),
        *("--columns", "best_val_accuracy", "--expect", "sgd.grad_norm > 0", "--json"),
    )
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert all(row["grad_norm"] > 0 and row["grad_norm_low"] is not None for row in document["rows"])
    assert document["expectations"][0]["holds"]
    ran = grng(
        "report", "x", "--columns", "grad_norm,diagnostics_s", "--expect", "sgd.grad_norm > adamw.grad_norm * 1000"
    )
    assert ran.code == 4
    heads = " ".join(ran.out.split())
    assert "norm" in heads
    assert "diagnostics" in heads
    assert ran.err.count("warning") == 0
    assert "done without `--diagnostics hessian_max`" in grng("report", "x", "--columns", "hessian_max").err


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--diagnostics grad_nrm --diagnostics-every 2",
            (
                "--diagnostics: must be 'hessian_max', 'hessian_trace', 'grad_norm', 'step_cosine', "
                "'grad_correlation_consecutive' or 'grad_correlation_sample', not 'grad_nrm'.\n hint: Did you mean 'grad_norm'?"
            ),
        ),
        (
            "--diagnostics grad_norm",
            "--diagnostics: says what to measure, but not how often; set diagnostics.every (--diagnostics-every), too.",
        ),
        (
            "--diagnostics-every 2",
            "--diagnostics-every: says how often to measure, but not what; set diagnostics.names (--diagnostics), too.",
        ),
        ("--diagnostics grad_norm,grad_norm --diagnostics-every 2", "--diagnostics: 'grad_norm' is there twice."),
        ("--diagnostics grad_norm --diagnostics-every 0", "--diagnostics-every: must be at least 1, not 0."),
        (
            "--diagnostics grad_norm --diagnostics-every 2 --set diagnostics.samples=1",
            "--set diagnostics.samples: must be at least 2, not 1.",
        ),
        (
            "--diagnostics grad_norm --diagnostics-every 2 --set diagnostics.batchnorm=runing",
            "--set diagnostics.batchnorm: must be 'batch' or 'running', not 'runing'.\n hint: Did you mean 'running'?",
        ),
        ("--set diagnostics.evry=2", "--set diagnostics.evry: unknown key 'evry'.\n hint: Did you mean 'every'?"),
    ],
)
def test_bad_input_is_one_message(grng: Call, workdir: Path, command: str, flags: str, message: str) -> None:
    before = snapshot(workdir)
    ran = grng(command, *flags.split())
    assert (ran.code, ran.out) == (2, "")
    assert snapshot(workdir) == before
    assert ran.err.strip() == f"error: {message}"


def test_an_unknown_column_is_one_message(grng: Call, workdir: Path) -> None:
    ran = grng("compare", "--columns", "grad_nrm")
    assert ran.code == 2
    assert "--columns: a row has no field 'grad_nrm'. Did you mean 'grad_norm'" in ran.err
    (workdir / "x").mkdir()
    ran = grng("report", "x", "--columns", "grad_nrm")
    assert ran.code == 2
    assert "a row has no field 'grad_nrm'" in ran.err


def test_a_model_that_cannot_be_measured_is_refused_before_anything_is_written(
    grng: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grng.errors import GrngError

    def refuse(*arguments: object) -> None:
        raise GrngError("the Hessian cannot be measured: no.", where="diagnostics.names", hint="Choose from grad_norm.")

    monkeypatch.setattr("grng.diagnostics.measure.Diagnostics.check", refuse)
    asked = ("--diagnostics", "hessian_max", "--diagnostics-every", 2, *MEASURED, *TINY)
    for command in (("train",), ("compare", "--workers", 0, "--optimizers", "sgd", "--seeds", 1)):
        ran = grng(*command, *asked)
        assert ran.code == 2
        assert (
            ran.err.strip()
            == "error: --diagnostics: the Hessian cannot be measured: no.\n hint: Choose from grad_norm."
        )
        assert not list(workdir.iterdir())


def test_the_shell_completes_their_names() -> None:
    from grng_cli.options.diagnostics import complete_columns, complete_diagnostics

    assert [name for name, _ in complete_diagnostics("grad_norm,hess")] == [
        "grad_norm,hessian_max",
        "grad_norm,hessian_trace",
    ]
    assert [name for name, _ in complete_diagnostics("a")] == ["all"]
    assert [name for name, _ in complete_columns("val_loss,step_c")] == [
        "val_loss,step_cosine",
        "val_loss,step_cosine_low",
        "val_loss,step_cosine_high",
    ]
