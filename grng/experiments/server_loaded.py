"""Imported by the fork server alone, after everything else: from now on it looks for its parent's end by itself."""

from __future__ import annotations

import signal

from grng.experiments.server import die_with_parent

if not die_with_parent(False) and hasattr(signal, "setitimer"):
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
