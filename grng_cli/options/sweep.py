"""Options of `grng sweep` alone: what is searched, how, and what is best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from grng.errors import ConfigError, GrngError
from grng_cli.options import common as options

_SEARCH = "Search"


def _starting_with(*names: str) -> object:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="YAML file, or the name of a shipped config, of a sweep or of a run; as --config.",
        autocompletion=options.complete_configs,
        show_default=False,
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        help="The optimizer that is tuned: `grng optimizers list`.",
        autocompletion=options.complete_optimizers,
        rich_help_panel="Workload",
    ),
]
Opt = Annotated[
    list[str] | None,
    typer.Option(
        "--opt",
        metavar="NAME=VALUE",
        help="A hyperparameter that is not searched, e.g. momentum=0.9. Repeatable.",
        rich_help_panel="Workload",
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--trials",
        help="Trials in all, those of earlier calls included; default: 20, or the whole grid.",
        rich_help_panel=_SEARCH,
    ),
]
Space = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        metavar="NAME=RANGE",
        help="What to search besides or instead of the optimizer's declared space: 'lr=log(1e-4, 1e-1)', "
        "'momentum=uniform(0.8, 0.99)', 'inverse_interval=int(5, 50)', 'step_norm=choice(rms, none)', "
        "'training.warmup=int(0, 50)'; NAME=null: not searched. Repeatable.",
        rich_help_panel=_SEARCH,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        help="qmc (a scrambled Sobol sequence, the default), random, tpe or grid.",
        autocompletion=_starting_with("qmc", "random", "tpe", "grid"),
        rich_help_panel=_SEARCH,
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="accuracy (the default), loss, steps-to-target or time-to-target, all on validation data.",
        autocompletion=_starting_with("accuracy", "loss", "steps-to-target", "time-to-target"),
        rich_help_panel=_SEARCH,
    ),
]
TuningSeeds = Annotated[
    int | None,
    typer.Option(
        "--tuning-seeds",
        help="Runs of a trial, with seeds that are never used for reporting; default: 1.",
        rich_help_panel=_SEARCH,
    ),
]
Pruner = Annotated[
    str | None,
    typer.Option(
        "--pruner",
        help="End trials early that look bad: median, halving; default: none, since it favours fast starters.",
        autocompletion=_starting_with("none", "median", "halving"),
        rich_help_panel=_SEARCH,
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of what is tried; default: 0.", rich_help_panel=_SEARCH)]


def overrides(
    space: Sequence[str] | None,
    trials: int | None,
    sampler: str | None,
    objective: str | None,
    tuning_seeds: int | None,
    pruner: str | None,
    seed: int | None,
) -> list[tuple[str, Any, str]]:
    """Return (key, value, flag) of these options, as the other flags are listed.

    Raises:
        GrngError: If --space has another form.
    """
    return [
        *space_overrides(space or ()),
        ("trials", trials, "--trials"),
        ("sampler", sampler, "--sampler"),
        ("objective", objective, "--objective"),
        ("tuning_seeds", tuning_seeds, "--tuning-seeds"),
        ("pruner", pruner, "--pruner"),
        ("seed", seed, "--seed"),
    ]


def space_overrides(texts: Sequence[str]) -> list[tuple[str, Any, str]]:
    """Return what each `--space NAME=RANGE` sets; the range itself is read with the config."""
    found: list[tuple[str, Any, str]] = []
    problems: list[GrngError] = []
    for text in texts:
        name, equals, expression = (part.strip() for part in text.partition("="))
        if not equals or not expression or not name or not all(name.split(".")):
            hint = "Write --space 'lr=log(1e-4, 1e-1)'."
            problems.append(GrngError("must have the form NAME=RANGE.", where=f"--space {text}", hint=hint))
            continue
        found.append((f"space.{name}", expression, f"--space {name}"))
    if problems:
        raise ConfigError(problems)
    return found
