"""Diagnostics of training: curvature of the loss, and how gradients and steps relate, measured beside a run.

Importing this package loads no torch; `grng.diagnostics.measure` does. docs/diagnostics.md has the definitions.
"""

from __future__ import annotations

from grng.diagnostics.names import DIAGNOSTICS, DiagnosticInfo, DiagnosticName, value_names

__all__ = ["DIAGNOSTICS", "DiagnosticInfo", "DiagnosticName", "value_names"]
