"""A run's name by what it computes: two configs have one id exactly if they describe the same training."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from grng.runs.config import RunConfig
from grng.runs.schema import Section
from grng.runs.sections import AugmentConfig, DatasetConfig, ModelConfig, TrainingConfig

NOT_PART_OF_THE_ID = frozenset({"label", "logging", "diagnostics", "machine", "output"})
SHORT_LENGTH = 8

# Keys that came later are left out at their defaults: the runs that were done before are the same runs.
_LATER: dict[str, tuple[type[Section], tuple[str, ...]]] = {
    "dataset": (DatasetConfig, tuple(name for name in DatasetConfig.model_fields if name not in ("name", "img_size"))),
    "model": (ModelConfig, tuple(name for name in ModelConfig.model_fields if name not in ("name", "kwargs"))),
    "training": (
        TrainingConfig,
        (
            "grad_accum",
            "precision",
            "clip_grad",
            "ema",
            "ema_warmup",
            "decay_every",
            "decay_rate",
            "layer_decay",
            "no_decay",
        ),
    ),
    "augment": (AugmentConfig, tuple(AugmentConfig.model_fields)),
}
_INERT = {"dataset": ("download", "strict", "in_memory")}

_MAX_NAME = 120
_KEPT = re.compile(r"[A-Za-z0-9._=,\[\]+-]")


def run_id(config: RunConfig) -> str:
    """Return the SHA-256 (hex) of a resolved config's canonical JSON, without what is `NOT_PART_OF_THE_ID`.

    Raises:
        ValueError: If `config` is not resolved: its id would not hold the defaults that it runs with.
    """
    return _digest(_content(config))


def run_ids(config: RunConfig, seeds: Iterable[int]) -> list[str]:
    """Return the `run_id` of a resolved config with each of several seeds.

    Raises:
        ValueError: As `run_id`.
    """
    content = _content(config)
    # The keys are sorted: what stands before the seed and after it is the same for thousands of runs.
    before = _canonical({key: value for key, value in content.items() if key < "seed"})[:-1]
    after = _canonical({key: value for key, value in content.items() if key > "seed"})[1:]
    begun = hashlib.sha256(f'{before},"seed":'.encode("ascii"))
    end = f",{after}".encode("ascii")
    found = []
    for seed in seeds:
        digest = begun.copy()
        digest.update(str(seed).encode("ascii") + end)
        found.append(digest.hexdigest())
    return found


def _content(config: RunConfig) -> dict[str, Any]:
    if config.dataset.img_size is None:
        raise ValueError("a run id is of a resolved config: call grng.runs.config.resolve first")
    content = config.model_dump(mode="json", exclude=set(NOT_PART_OF_THE_ID))
    content["model"]["weights"] = None  # a file counts by its content, weights_sha256
    for section, inert in _INERT.items():
        for name in inert:
            content[section][name] = _LATER[section][0].model_fields[name].default
    for section, (kind, names) in _LATER.items():
        for name in names:
            if content[section][name] == kind.model_fields[name].get_default(call_default_factory=True):
                del content[section][name]
    if content["training"]["loss"] in ("auto", "ce"):
        del content["training"]["loss"]
    if not content["augment"]:
        del content["augment"]
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode("ascii")).hexdigest()


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def short_id(full: str) -> str:
    """Return the first characters of a run id, enough to tell the runs of a person apart."""
    return full[:SHORT_LENGTH]


def directory_name(label: str) -> str:
    """Return a name for a directory that holds what is labelled `label`.

    ASCII letters, digits and `._-=,[]+` are kept, other characters become `_`. A name that differs from its label, or
    that a file system may take for another one (it ignores case), ends with `~` and a hash of the label, so that two
    labels never share a name: `~` occurs in no label that is kept.
    """
    kept = "".join(character if _KEPT.match(character) else "_" for character in label)[:_MAX_NAME]
    plain = kept == label and kept == kept.lower() and kept and not kept.startswith(".") and not kept.endswith(".")
    if plain:
        return kept
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{kept.strip('.')}~{digest}"


def described(config: RunConfig) -> dict[str, Any]:
    """Return what a `RunResult` says of a run before anything is measured: what repeats the resolved config."""
    return {
        "label": config.label or config.optimizer.name,
        "optimizer": config.optimizer.name,
        "hyperparameters": config.optimizer.hyperparameters,
        "model": config.model.name,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "epochs": config.training.epochs,
        "batch_size": config.training.batch_size,
        "run_id": run_id(config),
    }
