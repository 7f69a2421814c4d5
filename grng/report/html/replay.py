"""The exact commands that do the runs again, and the configurations that they take."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grng.report.html.blocks import Download
from grng.report.reading import CONFIG, EXPERIMENT, SWEEP, read_mapping
from grng.report.records import Experiment, Run
from grng.runs.identity import NOT_PART_OF_THE_ID, directory_name
from grng.runs.result import RunResult

_SECTIONS = ("model", "dataset", "training", "augment")
_ROUNDING = ("compile", "channels_last", "processes", "sync_batchnorm")
"""Keys of the machine that say in which order numbers are added, so how they are rounded."""
_NOT_GIVEN = ("schema_version", "grng")
_MOST_COMMANDS = 60


@dataclass(frozen=True, slots=True)
class Replay:
    """How to do the runs again.

    Attributes:
        compare: The command for all of them, or for the sweep; "" where the rows have no settings in common.
        train: A command for each run.
        files: The configurations that the commands name.
    """

    compare: str
    train: tuple[str, ...]
    files: tuple[Download, ...]


def replay_of(experiment: Experiment, *, prefix: str = "") -> Replay:
    """Return how to do an experiment's runs again, from the configurations that they were done with.

    Args:
        experiment: The runs.
        prefix: What files and directories begin with, to tell several experiments of a page apart.
    """
    threads = _threads([run.result for run in experiment.runs if run.result is not None])
    configs = {label: _configs(experiment, label) for label in experiment.labels}
    files: list[Download] = []
    commands: list[str] = []
    for label, of_row in configs.items():
        variants: list[tuple[dict[str, Any], list[int]]] = []
        for seed, config in of_row.items():
            same = next((seeds for other, seeds in variants if _trained(other) == _trained(config)), None)
            if same is None:
                variants.append((config, [seed]))
            else:
                same.append(seed)
        for index, (config, seeds) in enumerate(variants):
            name = f"{prefix}{directory_name(label)}{f'-{index + 1}' if len(variants) > 1 else ''}"
            machine = {**_mapping(config.get("machine")), **threads}
            files.append(_yaml(f"{name}.yaml", {**config, "machine": machine, "seed": seeds[0], "output": None}))
            commands += [
                _line(
                    "grng", "train", "--config", f"{name}.yaml", "--seed", seed, "--output", f"replay/{name}/seed{seed}"
                )
                for seed in seeds
            ]
    whole = _comparison(experiment, configs, threads)
    if whole is not None:
        name = f"{prefix}compare.yaml"
        files.insert(0, _yaml(name, whole))
        command = _line("grng", "compare", "--config", name, "--output", f"replay/{prefix}compare")
    if len(commands) > _MOST_COMMANDS:
        commands = [*commands[:_MOST_COMMANDS], f"# and {len(commands) - _MOST_COMMANDS} more, with the other seeds"]
    return Replay(command if whole is not None else "", tuple(commands), tuple(files))


def sweep_replay_of(directory: Path, results: Sequence[RunResult], *, trials: int, prefix: str = "") -> Replay | None:
    """Return how to do a sweep again; None where its directory does not tell.

    Args:
        directory: The sweep's.
        results: Of its runs.
        trials: How many there are.
        prefix: What files and directories begin with.
    """
    content = read_mapping(directory / SWEEP)
    if not all(isinstance(content.get(key), Mapping) for key in ("space", "optimizer", "training")):
        return None
    config = {str(key): value for key, value in content.items() if key not in _NOT_GIVEN}
    name = f"{prefix}sweep.yaml"
    command = _line("grng", "sweep", "--config", name, "--output", f"replay/{prefix}sweep")
    threads = _threads(results)
    machine = {"machine": threads} if threads else {}
    return Replay(command, (), (_yaml(name, {**config, "trials": trials, **machine}),))


def _threads(results: Sequence[RunResult]) -> dict[str, int]:
    """Return the CPU threads that every run had, which its last digits depend on; empty where they differ."""
    found = {result.environment.threads for result in results if (result.environment.device or "cpu").startswith("cpu")}
    threads = found.pop() if len(found) == 1 else None
    return {} if threads is None else {"threads": threads}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _configs(experiment: Experiment, label: str) -> dict[int, dict[str, Any]]:
    """Return the configurations of a row's runs by seed."""
    found: dict[int, dict[str, Any]] = {}
    known: dict[str, dict[str, Any]] = {}
    for run in experiment.of(label):
        text = _without_seed(run)
        if text and text not in known:
            known[text] = _config(run)
        if known.get(text) and run.seed is not None:
            found[run.seed] = known[text]
    return found


def _without_seed(run: Run) -> str:
    """Return the text of a run's configuration without what differs from seed to seed: most are parsed but once."""
    try:
        lines = (run.directory / CONFIG).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    return "\n".join(line for line in lines if not line.startswith(("seed:", "output:")))


def _config(run: Run) -> dict[str, Any]:
    values = read_mapping(run.directory / CONFIG)
    good = isinstance(values.get("optimizer"), Mapping) and isinstance(values.get("training"), Mapping)
    return {str(key): value for key, value in values.items() if key not in ("seed", "output")} if good else {}


def _trained(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a configuration makes a run another one: what it measures may have been changed on the way."""
    return {key: value for key, value in config.items() if key not in NOT_PART_OF_THE_ID}


def _comparison(
    experiment: Experiment, configs: Mapping[str, Mapping[int, dict[str, Any]]], threads: Mapping[str, int]
) -> dict[str, Any] | None:
    """Return the configuration of a comparison with these rows and seeds, None where it would be of other runs."""
    every = [config for of_row in configs.values() for config in of_row.values()]
    if not every or not all(configs.values()):
        return None
    first = every[0]
    if any(config.get(section) != first.get(section) for config in every for section in _SECTIONS):
        return None
    if any(
        config.get("optimizer") != next(iter(of_row.values())).get("optimizer")
        for of_row in configs.values()
        for config in of_row.values()
    ):
        return None
    rows = [{**next(iter(of_row.values()))["optimizer"], "label": label} for label, of_row in configs.items()]
    asked = _asked([run.root for run in experiment.runs if run.root is not None])
    measured = max(
        (_mapping(config.get("diagnostics")) for config in every), key=lambda one: len(one.get("names") or ())
    )
    # Of the machine only what rounding depends on: the device that it was set to here need not be there.
    machine = _mapping(first.get("machine"))
    rounding = {key: machine[key] for key in _ROUNDING if key in machine}
    return {
        "optimizers": rows,
        "seeds": list(experiment.seeds),
        "reference": experiment.reference,
        **{section: first[section] for section in _SECTIONS if section in first},
        **({"diagnostics": measured} if measured else {}),
        **({"machine": {**rounding, **threads}} if rounding or threads else {}),
        **asked,
    }


def _asked(roots: Sequence[Path]) -> dict[str, Any]:
    """Return claims and margin as the experiment has them."""
    for root in dict.fromkeys(roots):
        values = read_mapping(root / EXPERIMENT)
        return {key: values[key] for key in ("claims", "margin", "interval") if values.get(key) is not None}
    return {}


def _yaml(name: str, values: Mapping[str, Any]) -> Download:
    return Download(name, "application/yaml", _dumped(values))


def _dumped(values: Mapping[str, Any]) -> str:
    # The C dumper is ten times as fast, but not every build of PyYAML has it.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(dict(values), Dumper=dumper, sort_keys=False, allow_unicode=True))


def _line(*parts: object) -> str:
    return shlex.join(map(str, parts))
