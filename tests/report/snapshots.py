"""Texts that are compared with what was found good before; `GRNG_SNAPSHOTS=write pytest …` accepts the new ones."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "stored"


def check(name: str, text: str) -> None:
    """Compare `text` with the stored one."""
    path = FOLDER / name
    if os.environ.get("GRNG_SNAPSHOTS") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing: GRNG_SNAPSHOTS=write makes it"
    assert text == path.read_text(encoding="utf-8"), f"another text than {path}; GRNG_SNAPSHOTS=write accepts it"
