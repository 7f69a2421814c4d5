"""Imported by the fork server alone, after everything else: the alarm of `own_session` is needed no longer."""

from __future__ import annotations

import signal

if hasattr(signal, "setitimer"):
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
