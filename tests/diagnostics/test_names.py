from __future__ import annotations

import subprocess
import sys
import typing

from grng.diagnostics import DIAGNOSTICS, DiagnosticName, value_names
from grng.report.row import FIELDS
from grng.runs.result import Diagnostics


def test_the_table_has_a_row_for_every_name_that_the_config_takes() -> None:
    assert tuple(DIAGNOSTICS) == typing.get_args(DiagnosticName)
    assert all(name == info.name for name, info in DIAGNOSTICS.items())


def test_every_value_has_its_place_in_results_and_tables() -> None:
    assert {*value_names(DIAGNOSTICS), "step", "samples", "seconds"} == set(Diagnostics.model_fields)
    assert all({name, f"{name}_low", f"{name}_high"} <= set(FIELDS) for name in DIAGNOSTICS)
    assert all(FIELDS[name].unit == info.unit for name, info in DIAGNOSTICS.items())
    assert value_names(["grad_norm", "hessian_trace"]) == ["grad_norm", "hessian_trace", "hessian_trace_se"]


def test_the_names_load_no_torch() -> None:
    code = "import sys, grng.diagnostics, grng.report.asked; print([n for n in ('torch', 'timm', 'numpy') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
