"""`sweep.yaml`: what a folder's trials are trials of, so that no other sweep mixes its own in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from grng._version import __version__
from grng.errors import ConfigError, RunDirectoryError
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.spaces import Space
from grng.runs.config import RunConfig
from grng.runs.files import atomic_write_text, explain_os_errors, is_temporary
from grng.runs.identity import NOT_PART_OF_THE_ID, run_id, short_id
from grng.runs.yaml_text import dump, read_document

FILE = "sweep.yaml"

_ELSEWHERE = "Choose another directory with --output."


def described(config: SweepConfig, space: Space, probe: RunConfig) -> dict[str, Any]:
    """Return what makes two sweeps the same, as it is written down.

    Args:
        config: The sweep.
        space: What is searched.
        probe: A resolved run within the space.
    """
    run = probe.model_dump(mode="json", exclude={*NOT_PART_OF_THE_ID, "seed"})
    for name in space:
        section, _, key = name.rpartition(".")
        run[section or "optimizer"].pop(key, None)
    return {
        "space": {name: str(dimension) for name, dimension in space.items()},
        "sampler": config.sampler,
        "objective": config.objective,
        "seed": config.seed,
        "tuning_seeds": config.tuning_seeds,
        "pruner": config.pruner,
        **run,
    }


def default_directory(config: SweepConfig, space: Space, probe: RunConfig) -> Path:
    """Return a directory under runs/ that is named after what the sweep is."""
    content = described(config, space, probe)
    settings = {key: content[key] for key in ("space", "sampler", "objective", "seed", "tuning_seeds")}
    if config.pruner != "none":
        settings["pruner"] = config.pruner
    text = json.dumps({**settings, "run": run_id(probe)}, sort_keys=True)
    return Path("runs", f"sweep-{short_id(hashlib.sha256(text.encode()).hexdigest())}")


def check_folder(directory: Path, content: dict[str, Any]) -> None:
    """Refuse a directory in which this sweep cannot be; nothing is written.

    Raises:
        RunDirectoryError: It is a file, or holds something else or another sweep.
    """
    with explain_os_errors(directory):
        if directory.exists() and not directory.is_dir():
            raise RunDirectoryError("is a file, not a directory.", where=str(directory), hint=_ELSEWHERE)
        if not directory.exists():
            return
        entries = sorted(entry.name for entry in directory.iterdir() if not is_temporary(entry))
    if FILE not in entries:
        if entries:
            shown = ", ".join(entries[:3]) + (", …" if len(entries) > 3 else "")
            raise RunDirectoryError(
                f"holds something else than a sweep ({shown}).", where=str(directory), hint=_ELSEWHERE
            )
        return
    try:
        there, here = (_flat(one) for one in (read_document(directory / FILE).values, content))
    except ConfigError:
        raise RunDirectoryError("is no sweep.yaml.", where=str(directory / FILE), hint=_ELSEWHERE) from None
    # A key that one of them does not know came with another version, at its default.
    spaces = {key for key in (*there, *here) if key.startswith("space.")}
    keys = [key for key in {**there, **here} if key in spaces or (key in there and key in here)]
    other = [key for key in keys if there.get(key) != here.get(key)]
    other.sort(key=lambda key: not key.endswith(".name"))  # another optimizer has another space, which says less
    if other:
        shown = "; ".join(
            f"its {key} is {_shown(there.get(key))}, this one's {_shown(here.get(key))}" for key in other[:2]
        )
        more = f"; and {len(other) - 2} more" if len(other) > 2 else ""
        raise RunDirectoryError(f"holds another sweep: {shown}{more}.", where=str(directory), hint=_ELSEWHERE)


def write_record(directory: Path, content: dict[str, Any]) -> None:
    """Make the directory and write down what it is for, unless that is there."""
    with explain_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    if not (directory / FILE).exists():
        atomic_write_text(directory / FILE, dump({"schema_version": 1, "grng": __version__, **content}))


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for name, below in values.items():
        flat |= _flat(below, f"{prefix}.{name}".lstrip("."))
    return flat


def _shown(value: Any) -> str:
    return "not searched" if value is None else str(value)
