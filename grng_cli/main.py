"""The command `grng`: a table of contents."""

from __future__ import annotations

from typing import Annotated

import typer

from grng_cli import compare, config, inspection, report, sweep, train
from grng_cli.guard import Guarded

app = typer.Typer(
    name="grng",
    cls=Guarded,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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


app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("sweep")(sweep.sweep)
app.command("report")(report.report)
app.add_typer(inspection.optimizers, name="optimizers")
app.add_typer(inspection.models, name="models")
app.add_typer(inspection.datasets, name="datasets")
app.add_typer(config.config, name="config")


def run() -> None:
    """Entry point of the installed command."""
    app(prog_name="grng")
