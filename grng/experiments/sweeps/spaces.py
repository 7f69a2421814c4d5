"""Which hyperparameters a sweep varies: the optimizer's declared space with the sweep's own changes, checked.

A name without a dot is a hyperparameter of the optimizer; `training.warmup` is a key of the run. What fixes the budget
of a trial or the yardstick it is measured with cannot be searched: trials would not be comparable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from grng.errors import ConfigError, GrngError, suggest
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.space_grammar import Choice, Dimension, parse, written
from grng.optim.hyperparameters import Hyperparameter
from grng.optimizers import check_optimizer_name, hyperparameters
from grng.runs import messages
from grng.runs.config import RunConfig, replace, resolve
from grng.runs.schema import Key, Locate, Section
from grng.runs.sections import AugmentConfig, ModelConfig, OptimizerConfig, TrainingConfig
from grng.runs.shipped import configs_folder
from grng.runs.sources import dotted
from grng.runs.yaml_text import read_document

Space = dict[str, Dimension]

FLAG = "--space"
MAX_COMBINATIONS = 64
"""Combinations of choices that are checked against each other before a sweep begins."""

_FOLDER = "spaces"
_SECTIONS: Mapping[str, type[Section]] = {"training": TrainingConfig, "augment": AugmentConfig, "model": ModelConfig}
_FIXED = {
    "training": ("epochs", "steps", "target", "eval_every", "divergence_factor", "divergence_patience"),
    "model": ("name", "weights", "weights_sha256", "pretrained"),
    "augment": (),
}
_PROBE = 0.371
"""A place within a range that is neither an end nor a round number."""


def declared_spaces() -> list[str]:
    """Return the names of the optimizers that have a declared space."""
    return sorted(path.stem for path in (configs_folder() / _FOLDER).glob("*.yaml"))


def declared_space(optimizer: str) -> dict[str, Any]:
    """Return the declared space of an optimizer as text; empty where there is none."""
    if optimizer not in declared_spaces():
        return {}
    return dict(read_document(configs_folder() / _FOLDER / f"{optimizer}.yaml").values["space"])


def space_of(config: SweepConfig, *, locate: Locate | None = None) -> Space:
    """Return what the sweep varies, in the order in which it was declared.

    Args:
        config: The sweep.
        locate: Where a key of it was given, for messages.

    Raises:
        ConfigError: With every problem: names, ranges, nothing to search.
    """
    name = config.optimizer.name
    place = _places(locate)
    try:
        check_optimizer_name(name)
    except GrngError as error:
        where = locate(("optimizer", "name")) if locate else "optimizer.name"
        raise ConfigError([type(error)(error.message, where=where, hint=error.hint)]) from None
    known, fixed = hyperparameters(name), config.optimizer.hyperparameters
    own = flat(config.space)
    expressions = {**{key: text for key, text in declared_space(name).items() if key not in fixed}, **own}
    space: Space = {}
    problems: list[GrngError] = []
    for key, expression in expressions.items():
        if expression is None:
            if key not in known and "." not in key:
                problems.append(_unknown(key, name, known, place(key)))
            continue
        try:
            if key in fixed:
                raise GrngError(
                    f"{key} is both given ({written(fixed[key])}) and searched.",
                    where=place(key),
                    hint="Leave one of them out.",
                )
            _check_name(key, name, known, place(key))
            space[key] = parse(expression, where=place(key))
            if key in known:
                _check_range(known[key], space[key], place(key))
        except GrngError as error:
            problems.append(error)
    if problems:
        raise ConfigError(problems)
    if not space:
        raise ConfigError([_nothing(name, fixed, place(""))])
    return space


def run_config(config: SweepConfig, values: Mapping[str, Any], *, seed: int, locate: Locate | None = None) -> RunConfig:
    """Return the resolved config of one run of a trial.

    Args:
        config: The sweep.
        values: The trial's, by name.
        seed: The run's seed.
        locate: Where a key of the sweep was given, for messages.

    Raises:
        ConfigError: The values do not go together, or the workload does not do.
    """
    place = _places(locate)
    sections: dict[str, Any] = {name: getattr(config, name) for name in _SECTIONS}
    given: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if "." in name:
            section, _, key = name.partition(".")
            given.setdefault(section, {})[key] = value
    problems: list[GrngError] = []
    for section, changes in given.items():
        try:
            sections[section] = replace(sections[section], **changes)
        except ValidationError as error:
            locate_key = partial(_of_section, place, section)
            problems += [messages.problem(one, _SECTIONS[section], locate_key) for one in error.errors()]
    if problems:
        raise ConfigError(problems)
    own = {name: value for name, value in values.items() if "." not in name}

    def locate_run(key: Key) -> str:
        name = str(key[-1]) if key[0] == "optimizer" else dotted(key)
        if name in values:
            return f"{place(name)} ({_told(values)})"
        return locate(key) if locate else dotted(key)

    run = RunConfig(
        label=config.label,
        seed=seed,
        dataset=config.dataset,
        optimizer=OptimizerConfig(name=config.optimizer.name, **{**config.optimizer.hyperparameters, **own}),
        logging=config.logging,
        diagnostics=config.diagnostics,
        machine=config.machine,
        **sections,
    )
    return resolve(run, locate=locate_run)


def check_together(config: SweepConfig, space: Space, *, locate: Locate | None = None) -> RunConfig:
    """Check that what may be chosen goes together, and with the workload; return a resolved run within the space.

    Raises:
        ConfigError: Some values of the space do not go together.
    """
    first, *others = list(_corners(space))
    probe = run_config(config, first, seed=config.seeds[0], locate=locate)
    for values in others:
        run_config(config, values, seed=config.seeds[0], locate=locate)
    return probe


def _corners(space: Space) -> Iterator[dict[str, Any]]:
    """Yield a point within the space, its combinations of choices, and the ends of its ranges."""
    probe = {name: dimension.at(_PROBE) for name, dimension in space.items()}
    yield probe
    choices = {name: one.values for name, one in space.items() if isinstance(one, Choice)}
    combinations = itertools.product(*choices.values())
    for combination in itertools.islice(combinations, MAX_COMBINATIONS):
        yield {**probe, **dict(zip(choices, combination, strict=True))}
    for name, dimension in space.items():
        if not isinstance(dimension, Choice):
            yield {**probe, name: dimension.low}
            yield {**probe, name: dimension.high}


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={written(value)}" for name, value in values.items())


def flat(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries with dotted names: `training: {warmup: …}` is `training.warmup`."""
    entries: dict[str, Any] = {}
    for name, value in space.items():
        below = {f"{name}.{key}": one for key, one in flat(value).items()} if isinstance(value, dict) else {name: value}
        entries |= {key.removeprefix("optimizer."): one for key, one in below.items()}
    # A flag cannot give null otherwise, and `null` is no range.
    return {key: None if one in ("null", "~") else one for key, one in entries.items()}


def _places(locate: Locate | None) -> Callable[[str], str]:
    """Return what tells where the entry of a name was given: its own line, or the flag."""

    def place(name: str) -> str:
        keys = [("space", name), ("space", *name.split("."))] if name else [("space",)]
        found = [locate(key) for key in keys] if locate else [dotted(keys[0])]
        return next((where for where in found if where.startswith(FLAG)), found[0])

    return place


def _of_section(place: Callable[[str], str], section: str, key: Key) -> str:
    return place(f"{section}.{dotted(key)}")


def _check_name(name: str, optimizer: str, known: Mapping[str, Hyperparameter], where: str) -> None:
    if "." not in name:
        if name not in known:
            raise _unknown(name, optimizer, known, where)
        return
    section, _, key = name.partition(".")
    searchable = {s: [f for f in kind.model_fields if f not in _FIXED[s]] for s, kind in _SECTIONS.items()}
    if section not in _SECTIONS:
        hint = f"Hyperparameters have no dot; other keys are of {', '.join(_SECTIONS)}."
        raise GrngError(f"{name} cannot be searched.", where=where, hint=hint)
    if key in _FIXED[section]:
        raise GrngError(
            f"{name} cannot be searched: all trials of a sweep have the same.",
            where=where,
            hint="Give it for the whole sweep, or compare several sweeps.",
        )
    if key not in searchable[section]:
        near = suggest(name, [f"{section}.{one}" for one in searchable[section]])
        raise GrngError(f"there is no key {name}.", where=where, hint=near or f"There are: {searchable[section]}.")


def _unknown(name: str, optimizer: str, known: Mapping[str, Hyperparameter], where: str) -> GrngError:
    elsewhere = [f"{section}.{name}" for section, kind in _SECTIONS.items() if name in kind.model_fields]
    near = suggest(name, known) or (f"Did you mean {elsewhere[0]!r}?" if elsewhere else None)
    return GrngError(
        f"{optimizer} has no hyperparameter {name!r}.", where=where, hint=near or f"It has: {', '.join(known)}."
    )


def _check_range(known: Hyperparameter, dimension: Dimension, where: str) -> None:
    for value in dimension.samples():
        try:
            known.check(value)
        except GrngError as error:
            raise GrngError(f"{known.name} {error.message}", where=where, hint=error.hint) from None


def _nothing(optimizer: str, fixed: Mapping[str, Any], where: str) -> GrngError:
    hint = f"Say what to search: {FLAG} 'lr=log(1e-4, 1e-1)'; names: grng optimizers show {optimizer}."
    if declared_space(optimizer):
        given = f" ({', '.join(fixed)} are given)" if fixed else ""
        return GrngError(f"nothing is left to search of {optimizer}{given}.", where=where, hint=hint)
    declared = ", ".join(declared_spaces())
    return GrngError(
        f"{optimizer} has no declared search space.", where=FLAG, hint=f"{hint} Declared are those of {declared}."
    )
