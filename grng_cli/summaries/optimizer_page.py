"""What `grng optimizers show` prints: equation, needs, cost, paper, and the table of hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from grng_cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from grng.optim.hyperparameters import Hyperparameter

NEEDS = {
    "observe": "the outputs and targets, between forward and backward: optimizer.observe(outputs, targets)",
    "create_graph": "a backward that can be differentiated: loss.backward(create_graph=optimizer.is_second_order)",
    "closure": "a closure that computes loss and gradients again: optimizer.step(closure)",
}
"""What the words of a row's `needs` ask of a training loop; `grng train` does all of it."""


def described(name: str) -> dict[str, Any]:
    """Return all that is known of an optimizer, as plain values.

    Args:
        name: Of the registry, or timm:NAME.

    Raises:
        UnknownNameError: There is no such optimizer.
    """
    from grng.optimizers import TIMM_PREFIX, check_optimizer_name, hyperparameters, list_optimizers

    check_optimizer_name(name)
    about: dict[str, Any]
    if name.startswith(TIMM_PREFIX):
        from grng.timm_optimizers import about as of_timm

        about = of_timm(name.removeprefix(TIMM_PREFIX))
    else:
        info = next(row for row in list_optimizers() if row.name == name)
        keys = ("summary", "equation", "kind", "cost", "memory", "measured", "paper")
        about = {key: getattr(info, key) for key in keys} | {"needs": list(info.needs)}
    return {"name": name, **about, "hyperparameters": [_as_dict(item) for item in hyperparameters(name).values()]}


def show(name: str, output: Output) -> None:
    """Print an optimizer's page."""
    about = described(name)
    output.prose(f"{name}: {about['summary']}")
    lines = [
        ("equation", about["equation"]),
        ("kind", about["kind"]),
        ("needs", [NEEDS[need] for need in about["needs"]] or ["nothing but gradients"]),
        ("cost of a step", about["cost"]),
        ("memory, a parameter", about["memory"]),
        ("measured", about["measured"]),
        ("paper", about["paper"]),
    ]
    output.table(_facts([(key, value) for key, value in lines if value]))
    output.essential("")
    output.table(_hyperparameters(about["hyperparameters"]))
    known = about["hyperparameters"]
    if known:
        example = next((item for item in known if item["default"] is not None), known[0])
        output.data(
            f"\nSet them with: grng train --optimizer {name} --opt {example['name']}={plain(example['default'])}"
        )


def _as_dict(item: Hyperparameter) -> dict[str, Any]:
    return {
        "name": item.name,
        "symbol": item.meaning.symbol or None,
        "type": item.type_text,
        "range": item.meaning.range_text() or None,
        "default": list(item.default) if isinstance(item.default, tuple) else item.default,
        "meaning": item.meaning.text,
    }


def plain(value: Any) -> str:
    """Return a value as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def _facts(facts: Iterable[tuple[str, str | list[str]]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        for index, line in enumerate([value] if isinstance(value, str) else value):
            table.add_row(Text("" if index else f"  {name}"), Text(line))
    return table


def _hyperparameters(items: Iterable[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("name", "symbol", "default", "allowed, and what it is"):
        table.add_column(head, style="bold" if head == "name" else "", no_wrap=head in ("name", "symbol"))
    for item in items:
        allowed = item["type"] + (f", {item['range']}" if item["range"] else "")
        meaning = f"; {item['meaning']}" if item["meaning"] else ""
        cells = (item["name"], item["symbol"] or "", plain(item["default"]), f"{allowed}{meaning}")
        table.add_row(*map(Text, cells))
    return table
