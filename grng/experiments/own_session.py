"""Imported by the fork server alone, before anything else: takes it, and so every worker, out of the terminal's reach.

Ctrl-C goes to all processes of the terminal's session. A worker that got it from there and again from its parent would
take the second one for impatience, and one still importing torch would die with a traceback. In a session of their own
the server and its workers hear of an interrupt from the parent alone, once.
"""

from __future__ import annotations

import contextlib
import os

with contextlib.suppress(OSError):  # already the leader of a session
    os.setsid()
