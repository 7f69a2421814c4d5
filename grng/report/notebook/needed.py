"""Packages that only notebooks need."""

from __future__ import annotations

import importlib
from typing import Any

from grng.errors import GrngError


def needed(module: str, *, where: str) -> Any:
    """Import a module of a package that is no dependency of grng.

    Args:
        module: Its full name.
        where: What needs it, for the message.

    Raises:
        GrngError: The package is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        hint = "pip install 'grng[notebook]'"
        raise GrngError(f"{package} is not installed.", where=where, hint=hint) from None
