"""One row = one configuration: runs that share a label and differ in their settings get labels that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grng.report.records import Run


def tell_apart(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs, relabelled where one label stands for several configurations, and what was left out.

    `ring` with rho 0.1 and `ring` with rho 0.2 become `ring[rho=0.1]` and `ring[rho=0.2]`. Runs without a result follow
    the first configuration of their label. Of several runs with one label, configuration and seed only one counts: the
    first that finished.

    Args:
        runs: In order of appearance.
    """
    settings: dict[str, dict[str, dict[str, Any]]] = {}
    keys = [None if run.result is None else _key(run) for run in runs]
    for run, key in zip(runs, keys, strict=True):
        if key is not None and key not in (variants := settings.setdefault(run.label, {})):
            variants[key] = _settings(run)
    names = {label: _names(label, variants) for label, variants in settings.items()}
    labels = [_renamed(run, key, names) for run, key in zip(runs, keys, strict=True)]
    return _without_doubles(
        [run if run.label == label else replace(run, label=label) for run, label in zip(runs, labels, strict=True)]
    )


def _settings(run: Run) -> dict[str, Any]:
    result = run.result
    if result is None:
        return {}
    length = {"planned_steps": result.planned_steps} if result.epochs is None else {"epochs": result.epochs}
    return {**result.hyperparameters, "batch_size": result.batch_size, **length}


def _key(run: Run) -> str:
    return json.dumps(_settings(run), sort_keys=True, default=str)


def _renamed(run: Run, key: str | None, names: dict[str, dict[str, str]]) -> str:
    of_label = names.get(run.label)
    if of_label is None:
        return run.label
    return next(iter(of_label.values())) if key is None else of_label[key]


def _names(label: str, variants: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the name of each variant of `label`: the label with the settings in which the variants differ."""
    if len(variants) == 1:
        return dict.fromkeys(variants, label)
    keys = dict.fromkeys(key for settings in variants.values() for key in settings)
    differing = [key for key in keys if len({json.dumps(s.get(key), default=str) for s in variants.values()}) > 1]
    names = {}
    for variant, settings in variants.items():
        given = ",".join(f"{key}={settings[key]}" for key in differing if key in settings)
        names[variant] = f"{label[:-1]},{given}]" if label.endswith("]") else f"{label}[{given}]"
    return names


def _without_doubles(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    kept: dict[tuple[str, int | None, Any], Run] = {}
    warnings = []
    for run in runs:
        # Without a seed nothing says that two runs are the same one.
        key = (run.label, run.seed, run.directory if run.seed is None else None)
        other = kept.get(key)
        if other is None or other.status == "missing" or (run.status == "finished" and other.status != "finished"):
            kept[key] = run
        if other is None or "missing" in (run.status, other.status):
            continue
        if other.directory.resolve() != run.directory.resolve():
            dropped = run if kept[key] is other else other
            warnings.append(f"{run.name} is there twice; {dropped.directory} is left out for {kept[key].directory}")
    return list(kept.values()), warnings
