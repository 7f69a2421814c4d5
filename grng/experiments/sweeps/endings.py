"""How the trials of a sweep end, and what is to be said of those that were ended early."""

from __future__ import annotations

ENDINGS = ("finished", "pruned", "diverged", "failed")
"""How a trial can end."""


def pruned_sentence(pruner: str, pruned: int, ended: int) -> str:
    """Return what is to be known of a search that was to end trials early."""
    if not pruned:
        return f"none of {ended} trials was ended early (pruner {pruner})."
    return (
        f"{pruned} of {ended} trials were ended early (pruner {pruner}): values that start slowly, as a long warmup or "
        "strong weight decay do, may have been lost, and what fewer trials would have found counts them as they stood."
    )
