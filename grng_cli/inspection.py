"""`grng optimizers`, `grng models`, `grng datasets`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from grng_cli.examples import epilog
from grng_cli.options import common as options
from grng_cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

optimizers = typer.Typer(help="The optimizers and their hyperparameters.", no_args_is_help=True)
models = typer.Typer(help="The models: any of timm's, and two_layer.", no_args_is_help=True)
datasets = typer.Typer(help="The data sets.", no_args_is_help=True)


@optimizers.command("list", epilog=epilog("optimizers list"))
def list_optimizers(json: options.Json = False) -> None:
    """List the optimizers. Besides these there are timm's, as timm:NAME."""
    from grng.optimizers import list_optimizers as rows

    output = Output(json_only=json)
    infos = rows()
    if json:
        keys = ("name", "summary", "equation", "cost", "memory", "measured", "paper", "kind")
        output.document([{**{key: getattr(info, key) for key in keys}, "needs": list(info.needs)} for info in infos])
        return
    output.table(
        _table(
            ("name", "what it is", "cost of a step", "needs"),
            [(info.name, info.summary, info.cost, "\n".join(info.needs) or "-") for info in infos],
        )
    )
    output.data()
    output.prose("Hyperparameters: grng optimizers show ring. timm's optimizers: timm:NAME, e.g. timm:lamb.")


@optimizers.command("show", epilog=epilog("optimizers show"))
def show_optimizer(
    name: Annotated[str, typer.Argument(help="Its name.", autocompletion=options.complete_optimizers)],
    json: options.Json = False,
) -> None:
    """Show an optimizer: equation, needs, cost, paper, and its hyperparameters: type, range, default and meaning."""
    from grng_cli.summaries.optimizer_page import described, show

    output = Output(json_only=json)
    if json:
        output.document(described(name))
    else:
        show(name, output)


@models.command("list", epilog=epilog("models list"))
def list_models(
    pattern: Annotated[str, typer.Argument(help="With * and ?, e.g. 'vit*'.")] = "*",
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Names of weights, with tags.", rich_help_panel="Output")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the models: timm's, and two_layer, the network of the convergence theory."""
    from grng.models import list_models as names

    output = Output(json_only=json)
    found = names(pattern, pretrained=pretrained)
    if json:
        output.document(found)
        return
    output.essential("\n".join(found))
    output.chatter(f"{len(found)} models")


@datasets.command("list", epilog=epilog("datasets list"))
def list_datasets(json: options.Json = False) -> None:
    """List the built-in data sets, and the doors to others."""
    from grng.data import list_datasets as rows
    from grng.data import list_doors

    output = Output(json_only=json)
    infos = rows()
    if json:
        keys = ("name", "summary", "num_classes", "channels", "img_size", "train", "val", "test", "target", "licence")
        built_in = [{key: getattr(info, key) for key in keys} for info in infos]
        output.document(built_in + [{"name": d.name, "summary": d.summary, "needs": d.needs} for d in list_doors()])
        return
    output.table(
        _table(
            ("name", "classes", "size", "train/val/test", "target", "what it is; licence"),
            [
                (
                    info.name,
                    str(info.num_classes),
                    f"{info.img_size} px",
                    f"{info.train:,}/{info.val:,}/{info.test:,}",
                    f"{info.target:.0%}",
                    f"{info.summary}; {info.licence}",
                )
                for info in infos
            ],
            whole=5,
        )
    )
    doors = [(door.name, door.summary, door.needs) for door in list_doors()]
    output.table(_table(("from files", "what it is", "needs"), doors))
    output.data()
    output.prose("Pictures of your own: grng train --dataset folder --data-dir DIR, with one folder a class in DIR.")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, whole: int = 1) -> Table:
    """Return a table whose first `whole` columns, names and numbers, are never broken."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, style="bold" if index == 0 else "", no_wrap=index < whole, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
