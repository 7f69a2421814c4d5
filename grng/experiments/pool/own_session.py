"""Imported by the fork server alone, before anything else: takes it, and so every worker, out of the terminal's reach.

Ctrl-C goes to all processes of the terminal's session. A worker that got it from there and again from its parent would
take the second one for impatience, and one still importing torch would die with a traceback. In a session of their own
the server and its workers hear of an interrupt from the parent alone, once.

The server hears of its parent's end by a pipe, at which it does not look while it loads, and then takes time to take
torch down. So the kernel ends it with its parent; where the kernel cannot, an alarm looks. Workers look for themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from grng.experiments.pool.server import PARENT, die_with_parent

_LOOK_SECONDS = 0.5

_parent = int(os.environ.pop(PARENT, "0"))


def _look(number: int, frame: FrameType | None) -> None:
    if os.getppid() != _parent:
        os._exit(0)


with contextlib.suppress(OSError):  # already the leader of a session
    os.setsid()
if _parent:
    if not die_with_parent() and hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _look)
        signal.siginterrupt(signal.SIGALRM, False)  # what is loaded meanwhile need not expect interrupted calls
        signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
    if os.getppid() != _parent:  # it was gone before
        os._exit(0)
