"""What goes wrong when pretrained weights are fetched, said so that the user can mend it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from grng.errors import GrngError

_WHERE = "model.pretrained"
_LENGTH = 300


def one_line(error: BaseException) -> str:
    """Return the text of `error` on one line, or its kind where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def pretrained_problem(name: str, error: Exception) -> GrngError | None:
    """Return the message for an error of timm's while it loaded the pretrained weights of `name`; None: another one."""
    if _is_of_the_network(error):
        return GrngError(
            f"the pretrained weights of {name} are not in the cache and cannot be downloaded: {one_line(error)}",
            where=_WHERE,
            hint="Run it once with access to huggingface.co (the cache, ~/.cache/huggingface or HF_HOME, then serves "
            "offline), or load a file with --weights.",
        )
    kind = type(error).__module__.partition(".")[0]
    if kind in ("safetensors", "safetensors_rust", "pickle", "_pickle") or isinstance(error, EOFError):
        return GrngError(
            f"the cached weights of {name} are damaged: {one_line(error)}",
            where=_WHERE,
            hint="Remove the model's folder from the cache, ~/.cache/huggingface/hub or HF_HOME, to fetch it again.",
        )
    if "loading state_dict" in str(error) or "inconsistent with" in str(error):
        return GrngError(
            f"the pretrained weights of {name} do not fit the model as it is built here: {one_line(error)}",
            where=_WHERE,
            hint="Leave model.kwargs out, or load a file with --weights.",
        )
    return None


@dataclass
class Gaps:
    """Which entries timm found in the model alone, and in the pretrained weights alone."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


@contextlib.contextmanager
def noting_gaps() -> Iterator[Gaps]:
    """Note which entries timm leaves new or leaves out while it loads: it says so in its log and nowhere else."""
    gaps = Gaps()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said = re.match(r"(Missing|Unexpected) keys \((.*?)\)", record.getMessage())
            if said:
                found = gaps.missing if said[1] == "Missing" else gaps.unexpected
                found.extend(said[2].split(", "))

    log = logging.getLogger("timm.models._builder")
    listener, level = Listener(), log.level
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        yield gaps
    finally:
        log.setLevel(level)
        log.removeHandler(listener)


def _is_of_the_network(error: Exception) -> bool:
    # The hub's own errors, httpx's and urllib's derive from OSError but for a few.
    kinds = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not kinds.isdisjoint({"huggingface_hub", "httpx", "httpcore", "requests"})
