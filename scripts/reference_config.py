"""The page of the configuration, from the schemas themselves: what `grng config schema` says, a table a section.

The docs site makes it at every build (scripts/docs_hooks.py); `python scripts/reference_config.py` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reference_text import cell, escaped, table

from grng.experiments.compare_config import CompareConfig
from grng.experiments.sweeps.config import SweepConfig
from grng.runs.config import RunConfig
from grng.runs.loading import json_schema

HEAD = """# Configuration

Made from the schemas: `grng config schema train` (`compare`, `sweep`) prints them for editors that complete and check
YAML; `grng config show NAME` prints a config with every default filled in. `--set training.batch_size=64` sets any key
at the [command line](cli.md).
"""

KINDS: Mapping[str, Any] = {
    "A run (`grng train`)": RunConfig,
    "A comparison (`grng compare`)": CompareConfig,
    "A sweep (`grng sweep`)": SweepConfig,
}

Schema = Mapping[str, Any]


def page() -> str:
    """Return the whole page as Markdown."""
    pieces = [HEAD]
    sections: dict[str, Schema] = {}
    for title, kind in KINDS.items():
        schema = json_schema(kind)
        pieces += [f"## {title}\n", _description(schema), _table(_object(schema))]
        sections |= {name: section for name, section in schema["$defs"].items() if _object(section)}
    for name, section in sections.items():
        pieces += [f"## {name}\n", _description(section), _table(_object(section))]
    return "\n".join(piece for piece in pieces if piece)


def _object(schema: Schema) -> Schema:
    """Return the properties of a section, of one that a bare value may stand for as well."""
    for one in (schema, *schema.get("anyOf", ())):
        if "properties" in one:
            properties: Schema = one["properties"]
            return properties
    return {}


def _description(schema: Schema) -> str:
    text = next((one["description"] for one in (*schema.get("anyOf", ()), schema) if "properties" in one), "")
    return f"{escaped(text)}\n" if text else ""


def _table(properties: Schema) -> str:
    rows = [
        [f"`{key}`", kind_of(one), _default(one), cell(one.get("description", ""))] for key, one in properties.items()
    ]
    return table(["key", "value", "default", "meaning"], rows)


def _default(schema: Schema) -> str:
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`" if "default" in schema else ""


def kind_of(schema: Schema) -> str:
    """Return what a value may be, in words: "a whole number, at least 1, or null"."""
    return ", or ".join(dict.fromkeys(_kinds(schema)))


def _kinds(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield "any value" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    elif "anyOf" in schema or "oneOf" in schema:
        for one in schema.get("anyOf", schema.get("oneOf", ())):
            yield from _kinds(one)
    elif "enum" in schema:
        yield " / ".join(f"`{_word(value)}`" for value in schema["enum"])
    elif "const" in schema:
        yield f"`{_word(schema['const'])}`"
    elif schema.get("type") == "array":
        items = schema.get("items")
        yield f"a list of: {kind_of(items)}" if items else "a list"
    elif schema.get("type") == "object":
        yield "a mapping"
    else:
        words = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "`true` / `false`"}
        kind = str(schema.get("type", ""))
        yield ", ".join(filter(None, [words.get(kind, kind or "any value"), *_bounds(schema)]))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bounds(schema: Schema) -> Iterator[str]:
    largest = schema.get("maximum")
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    for key, word in words.items():
        if key in schema and not (key == "maximum" and isinstance(largest, int) and largest >= 2**62):
            yield f"{word} {schema[key]:g}"


if __name__ == "__main__":
    print(page())
