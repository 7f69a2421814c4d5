"""`grng config`: the shipped configs, checks of your own, and the schema for editors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grng_cli.examples import epilog
from grng_cli.options import common as options
from grng_cli.output import Output

if TYPE_CHECKING:
    from pydantic import BaseModel

    from grng.runs.sources import Source

config = typer.Typer(help="Configs: list, show, check, and their schema.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A YAML file, or a shipped one's name.", autocompletion=options.complete_configs
    ),
]


class Kind(StrEnum):
    """Of which command a config is."""

    train = "train"
    compare = "compare"
    sweep = "sweep"


@config.command("list", epilog=epilog("config list"))
def list_configs(json: options.Json = False) -> None:
    """List the configs that come with grng."""
    from grng_cli.sources import shipped_configs

    output = Output(json_only=json)
    names = shipped_configs()
    if json:
        output.document(names)
    else:
        output.essential("\n".join(names))


@config.command("show", epilog=epilog("config show"))
def show_config(name: Name) -> None:
    """Print a config with every default filled in."""
    from grng.runs.config import RunConfig, resolve
    from grng.runs.loading import dump_yaml, load_config
    from grng.runs.shipped import find_config

    path = find_config(name)
    loaded = load_config(_kind_of(path), files=[path], adjust=_adjust)
    shown = resolve(loaded.config, locate=loaded.locate) if isinstance(loaded.config, RunConfig) else loaded.config
    Output().essential(dump_yaml(shown).rstrip())


@config.command("check", epilog=epilog("config check"))
def check_configs(names: Annotated[list[str], typer.Argument(metavar="FILE…", help="YAML files, or names.")]) -> None:
    """Check configs, names and hyperparameters included; nothing is run."""
    from grng.experiments.compare_config import CompareConfig
    from grng.experiments.sweeps.config import SweepConfig
    from grng.runs.config import RunConfig, resolve
    from grng.runs.loading import load_config
    from grng.runs.shipped import find_config

    output = Output()
    for name in names:
        path = find_config(name)
        loaded = load_config(_kind_of(path), files=[path], adjust=_adjust)
        if isinstance(loaded.config, RunConfig):
            resolve(loaded.config, locate=loaded.locate)
        elif isinstance(loaded.config, CompareConfig):
            from grng.experiments.workloads.compare import check_names, split

            check_names(split(loaded.config, locate=loaded.locate))
        elif isinstance(loaded.config, SweepConfig):
            from grng.experiments.sweeps.spaces import check_together, space_of

            check_together(loaded.config, space_of(loaded.config, locate=loaded.locate), locate=loaded.locate)
        output.essential(f"{name}: good")


@config.command("schema", epilog=epilog("config schema"))
def show_schema(kind: Annotated[Kind, typer.Argument(help="Of which command.")] = Kind.train) -> None:
    """Print the JSON Schema, for editors that complete and check configs."""
    from grng.experiments.compare_config import CompareConfig
    from grng.experiments.sweeps.config import SweepConfig
    from grng.runs.config import RunConfig
    from grng.runs.loading import json_schema

    schemas: dict[Kind, type[BaseModel]] = {
        Kind.train: RunConfig,
        Kind.compare: CompareConfig,
        Kind.sweep: SweepConfig,
    }
    Output().document(json_schema(schemas[kind]))


def _adjust(source: Source) -> None:
    from grng.experiments.workloads.sources import settle_workloads

    if "workloads" in source.values:
        settle_workloads(source)


def _kind_of(path: Path) -> type[BaseModel]:
    """Return the schema that a file is written for: only comparisons name several optimizers, only sweeps a space."""
    from grng.experiments.compare_config import CompareConfig
    from grng.experiments.sweeps.config import SweepConfig
    from grng.runs.config import RunConfig
    from grng.runs.yaml_text import read_document

    keys = read_document(path).values.keys()
    if {"optimizers", "seeds", "workloads"} & keys:
        return CompareConfig
    return SweepConfig if {"space", "trials", "sampler", "objective", "tuning_seeds"} & keys else RunConfig
