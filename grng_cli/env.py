"""`grng env`: what a report of a fault needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grng_cli.options import common as options
from grng_cli.output import Output

if TYPE_CHECKING:
    from grng.training.system import System


def env(json: options.Json = False) -> None:
    """Print versions and machine, to be pasted into a report of a fault.

    No path and no value of the environment that could be private is in it.
    """
    from grng.training.system import describe_system

    output = Output(json_only=json)
    system = describe_system()
    if json:
        output.document(system)
        return
    output.essential("\n".join(_lines(system)))


def _lines(system: System) -> list[str]:
    """Return the facts as lines `name: value`, a section after the other."""
    lines: list[str] = []
    for section, facts in system.items():
        lines += [] if not lines else [""]
        lines.append(section)
        width = max(map(len, facts), default=0)
        lines += [f"  {name + ':':<{width + 1}} {_text(value)}" for name, value in facts.items()] or ["  none"]
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return str(value)
