"""Settings given as a plain mapping, in place of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from grng.runs.loading import load_config

T = TypeVar("T", bound=BaseModel)


def as_config(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Return the config that a YAML file with these settings would be.

    Args:
        kind: Its schema.
        settings: Nested mappings, such as `{"optimizers": "adamw,ring", "training": {"epochs": 5}}`.

    Raises:
        ConfigError: With every problem found.
    """
    return load_config(kind, overrides=[(str(key), value, str(key)) for key, value in settings.items()]).config
