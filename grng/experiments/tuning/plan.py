"""From a comparison that tunes its rows to one sweep a row; nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grng.errors import ConfigError, GrngError, RunDirectoryError, suggest
from grng.experiments.compare_config import CompareConfig, Entry
from grng.experiments.plan import locate_row, training_of
from grng.experiments.record import Record
from grng.experiments.sweeps import record as sweep_record
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.plan import PreparedSweep, plan_sweep
from grng.experiments.sweeps.spaces import declared_space, flat
from grng.optimizers import list_optimizers
from grng.runs.config import replace
from grng.runs.identity import directory_name
from grng.runs.schema import Key, Locate
from grng.runs.sections import OptimizerConfig
from grng.runs.sources import dotted

FOLDER = "tuning"
"""Where the sweeps are within the experiment."""

WHERE = "--tune"

Sweeps = Mapping[str, PreparedSweep]
"""The sweep of each row that is tuned, by label."""


def sweeps_of(
    config: CompareConfig, *, steps: Mapping[str, int] | None = None, locate: Locate | None = None
) -> dict[str, PreparedSweep]:
    """Return the sweep of every row that is to be tuned, in order; where they go is not settled yet.

    Args:
        config: The comparison.
        steps: With a budget in seconds, the calibrated number of steps by label; default: 1, for a look at the rest.
        locate: Where a key of `config` was given, for messages.

    Raises:
        ConfigError: With every problem of every row.
    """
    if config.tune.trials is None:
        return {}
    _check_labels(config, locate)
    _check_names(config, locate)
    found: dict[str, PreparedSweep] = {}
    problems: dict[str, GrngError] = {}
    for index, entry in enumerate(config.optimizers):
        if entry.sweep is not None:
            continue
        label = entry.spec.label
        locate_sweep = _locate_sweep(config, index, entry, locate)
        try:
            _check_space(config, index, entry, locate)
            made = _sweep_config(config, entry, None if steps is None else steps[label])
            found[label] = plan_sweep(made, locate=locate_sweep)
        except ConfigError as error:  # those of model and data set are the same for all rows
            problems.update((str(one), _as_typed_here(one, entry)) for one in error.problems)
        except GrngError as error:
            problems[str(error)] = _as_typed_here(error, entry)
    if problems:
        raise ConfigError(list(problems.values()))
    return found


def placed(sweeps: Sweeps, directory: Path, *, check: bool = True) -> dict[str, PreparedSweep]:
    """Return the sweeps with their directories within the experiment's.

    Args:
        sweeps: From `sweeps_of`.
        directory: The experiment's.
        check: Whether to look at what is there; not before their length is known.

    Raises:
        RunDirectoryError: One of them holds something else, or another sweep.
    """
    found = {}
    for label, sweep in sweeps.items():
        place = directory / FOLDER / directory_name(label)
        if check:
            sweep_record.check_folder(place, sweep.described)
        found[label] = dataclasses.replace(sweep, config=replace(sweep.config, output=place), directory=place)
    return found


def at_probe(config: CompareConfig, sweeps: Sweeps) -> CompareConfig:
    """Return the comparison with the rows that are to be tuned somewhere within their space: what they will be like."""
    if not sweeps:
        return config
    entries = [
        entry
        if (sweep := sweeps.get(entry.spec.label)) is None
        else Entry.model_validate({**sweep.probe.optimizer.hyperparameters, "name": entry.name, "label": label(entry)})
        for entry in config.optimizers
    ]
    return replace(config, optimizers=entries)


def label(entry: Entry) -> str:
    """Return the label of a row, filled in."""
    return entry.spec.label


def check_tune(directory: Path, before: Record | None, config: CompareConfig) -> None:
    """Refuse a directory whose rows were tuned otherwise.

    Args:
        directory: The experiment's.
        before: What it says of itself; None: there is nothing yet.
        config: The comparison.

    Raises:
        RunDirectoryError: As above, saying what differs.
    """
    if before is None or before.tune == config.tune.settings:
        return
    there, here = before.tune or {"trials": None}, config.tune.settings or {"trials": None}
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if "trials" in keys and None in (there["trials"], here["trials"]):
        keys = ["trials"]
    told = "; ".join(f"its tune.{key} is {_shown(there.get(key))}, this one's {_shown(here.get(key))}" for key in keys)
    raise RunDirectoryError(
        f"holds another comparison: {told}.", where=str(directory), hint="Choose another directory with --output."
    )


def _shown(value: Any) -> str:
    return "not given (rows are not tuned)" if value is None else str(value)


def _sweep_config(config: CompareConfig, entry: Entry, steps: int | None) -> SweepConfig:
    tune, spec = config.tune, entry.spec
    budget = config.training
    return SweepConfig(
        label=spec.label,
        optimizer=OptimizerConfig(name=spec.name, **spec.hyperparameters),
        space=_changes(config, entry),
        trials=tune.trials,
        sampler=tune.sampler,
        objective=tune.objective,
        seed=tune.seed,
        tuning_seeds=tune.tuning_seeds,
        model=config.model,
        dataset=config.dataset,
        training=training_of(budget, steps=steps or 1) if budget.seconds else training_of(budget),
        augment=config.augment,
        logging=config.logging,
        machine=config.machine,
        workers=config.workers,
        pool=config.pool,
    )


def _changes(config: CompareConfig, entry: Entry) -> dict[str, Any]:
    """Return the changes to a row's declared space; those for its optimizer leave alone what the row gives."""
    spaces, spec = config.tune.spaces, entry.spec
    of_optimizer = flat(spaces.get(spec.name, {})) if spec.label != spec.name else {}
    own = flat(spaces.get(spec.label, {}))
    return {**{name: one for name, one in of_optimizer.items() if name not in spec.hyperparameters}, **own}


def _check_labels(config: CompareConfig, locate: Locate | None) -> None:
    for index, entry in enumerate(config.optimizers):
        if entry.spec.label == FOLDER:
            where = locate_row(index, entry.spec.label, locate)(("optimizer",))
            message = f"a row of a comparison that is tuned cannot be called {FOLDER!r}: its sweeps are there."
            raise ConfigError([GrngError(message, where=where, hint="Give the row another label.")])
    if all(entry.sweep is not None for entry in config.optimizers):
        where = locate(("tune", "trials")) if locate else "tune.trials"
        hint = "Leave it out, or name an optimizer without @DIR."
        raise ConfigError([GrngError("no row is left to tune: each has a sweep.", where=where, hint=hint)])


def _check_names(config: CompareConfig, locate: Locate | None) -> None:
    """Refuse spaces of what is no row that is tuned."""
    tuned = [entry for entry in config.optimizers if entry.sweep is None]
    known = list(dict.fromkeys([*(entry.spec.label for entry in tuned), *(entry.name for entry in tuned)]))
    problems = []
    for name in config.tune.spaces:
        if name not in known:
            key = ("tune", "spaces", name)
            hint = suggest(name, known, otherwise=f"Tuned are {', '.join(known)}.")
            problems.append(
                GrngError(f"no row that is tuned is {name!r}.", where=locate(key) if locate else dotted(key), hint=hint)
            )
    if problems:
        raise ConfigError(problems)


def _check_space(config: CompareConfig, index: int, entry: Entry, locate: Locate | None) -> None:
    """Refuse a row with nothing to search, and keys of the run: all rows share them."""
    spec = entry.spec
    if spec.name not in {info.name for info in list_optimizers()} and not spec.name.startswith("timm:"):
        return  # the sweep's own check says it, with the nearest names
    changes = _changes(config, entry)
    for name in changes:
        if "." in name:
            where = _locate_sweep(config, index, entry, locate)(("space", name))
            raise GrngError(
                f"{name} cannot be searched here: all rows of a comparison share it.",
                where=where,
                hint="Search hyperparameters of the optimizer; give the other keys for all rows.",
            )
    declared = declared_space(spec.name)
    searched = {**{name: one for name, one in declared.items() if name not in spec.hyperparameters}, **changes}
    if any(one is not None for one in searched.values()):
        return
    where = locate_row(index, spec.label, locate)(("optimizer",))
    if not declared and not changes:
        raise GrngError(
            f"{spec.name} has no declared search space, so {spec.label} cannot be tuned.",
            where=where,
            hint=f"Give one: --set 'tune.spaces.{spec.name}.lr=log(1e-4, 1e-1)'.",
        )
    given = ", ".join(spec.hyperparameters)
    raise GrngError(
        f"nothing is left to search of {spec.label}{f' ({given} given)' if given else ''}.",
        where=where,
        hint="Leave hyperparameters out, or do without --tune.",
    )


def _locate_sweep(config: CompareConfig, index: int, entry: Entry, locate: Locate | None) -> Locate:
    """Return where a key of a row's sweep was given, by where that of the comparison was."""
    spec, spaces = entry.spec, config.tune.spaces

    def locate_key(key: Key) -> str:
        if key[0] == "space":
            names = [name for name in (spec.label, spec.name) if name in spaces]
            own = [name for name in names if ".".join(map(str, key[1:])) in flat(spaces[name])]
            key = ("tune", "spaces", *(own or names or [spec.name])[:1], *key[1:])
        elif key[0] in ("trials", "sampler", "objective", "seed", "tuning_seeds"):
            key = ("tune", *key)
        else:
            return locate_row(index, spec.label, locate)(key)
        return locate(key) if locate else dotted(key)

    return locate_key


def _as_typed_here(error: GrngError, entry: Entry) -> GrngError:
    """Return an error of a sweep with what is typed for a comparison in place of the sweep's flags."""
    if error.hint is None:
        return error
    hint = error.hint.replace("--space '", f"--set 'tune.spaces.{entry.name}.").replace("--trials", WHERE)
    return type(error)(error.message, where=error.where, hint=hint)
