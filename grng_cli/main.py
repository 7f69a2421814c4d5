"""The command `grng`: a table of contents."""

from __future__ import annotations

from typing import Annotated

import typer

from grng_cli import compare, config, env, inspection, replay, report, sweep, train
from grng_cli.examples import epilog
from grng_cli.guard import Guarded
from grng_cli.output import plain_streams

app = typer.Typer(
    name="grng",
    cls=Guarded,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(""),
)


def _version(value: bool) -> None:
    if value:
        from grng import __version__

        typer.echo(f"grng {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find out which optimizer trains your vision model best.

    `grng compare` alone trains seven optimizers with three seeds on 5,000 real digits and prints a table.
    """


_TRAIN, _LOOK = "Train", "Look"
for _name, _command, _panel in (
    ("train", train.train, _TRAIN),
    ("compare", compare.compare, _TRAIN),
    ("sweep", sweep.sweep, _TRAIN),
    ("report", report.report, _TRAIN),
    ("replay", replay.replay, _TRAIN),
    ("env", env.env, _LOOK),
):
    app.command(_name, epilog=epilog(_name), rich_help_panel=_panel)(_command)
app.add_typer(inspection.optimizers, name="optimizers", rich_help_panel=_LOOK)
app.add_typer(inspection.models, name="models", rich_help_panel=_LOOK)
app.add_typer(inspection.datasets, name="datasets", rich_help_panel=_LOOK)
app.add_typer(config.config, name="config", rich_help_panel=_LOOK)


def run() -> None:
    """Entry point of the installed command."""
    plain_streams()
    app(prog_name="grng")
