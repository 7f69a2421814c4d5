from __future__ import annotations

from pathlib import Path

from grng.report.html.blocks import Figure, Prose
from grng.report.html.curves import read_logs
from grng.report.html.diagnostics import OPEN, TITLES, diagnostics_blocks
from grng.report.load import load_experiment
from tests.report.factory import place
from tests.report.html.runs import make_full, write_curves

OPTIM = Path(__file__).parents[3] / "grng" / "optim"


def test_the_names_are_those_that_optimizers_log() -> None:
    source = "\n".join(path.read_text() for path in OPTIM.glob("*.py"))
    for name in TITLES:
        key = name.removeprefix("optimizer/")
        assert f'"{key}"' in source, key


def test_what_is_known_comes_first_and_what_is_zero_is_said(tmp_path: Path) -> None:
    make_full(tmp_path, ("adamw", "ring"))
    values = {
        "optimizer/newton_residual": 0.1,
        "optimizer/damping": 0.01,
        "optimizer/odd": 3.0,
        "diagnostics/grad_norm": 2.0,
        "diagnostics/hessian_trace": 30.0,
        "diagnostics/hessian_trace_se": 1.0,
    }
    for seed in range(3):
        write_curves(place(tmp_path, "ring", seed), seed, values=values)
    blocks = diagnostics_blocks(read_logs(load_experiment(tmp_path)))
    figures = [block for block in blocks if isinstance(block, Figure)]
    shown = [figure.title for figure in figures if not figure.folded]
    known = [TITLES[name] for name in list(TITLES)[:OPEN]]
    assert shown == [title for title in known if title in shown] + [
        "gradient norm, of the sample",
        "Hessian trace, of the sample",
    ]
    assert set(shown) >= {"damping λ", "gradient norm", "Newton residual"}
    assert [figure.title for figure in figures if figure.folded] == ["odd", "Hessian trace: error of the estimate"]
    assert [block.lines for block in blocks if isinstance(block, Prose)] == [("zero throughout: skipped steps",)]
    damping = next(figure for figure in figures if figure.title == "damping λ")
    assert [entry.label for entry in damping.legend] == ["ring"], "adamw has none"


def test_values_far_apart_have_a_logarithmic_axis(tmp_path: Path) -> None:
    make_full(tmp_path, ("adamw", "ring"))
    for label, damping in (("adamw", 4.0), ("ring", 0.004)):
        for seed in range(3):
            write_curves(place(tmp_path, label, seed), seed, values={"optimizer/damping": damping})
    blocks = diagnostics_blocks(read_logs(load_experiment(tmp_path)))
    logarithmic = [block.title for block in blocks if isinstance(block, Figure) and block.logy]
    assert logarithmic == ["damping λ"]
