"""What workloads take from where: comma lists of names on the command line, and flags that hold for all workloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grng.experiments.budget import BudgetConfig
from grng.experiments.workloads.config import PRODUCT, SECTIONS, expanded, split_names
from grng.runs.schema import Section
from grng.runs.sections import AugmentConfig, DatasetConfig, ModelConfig
from grng.runs.sources import Place, Source

_KINDS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "dataset": DatasetConfig,
    "training": BudgetConfig,
    "augment": AugmentConfig,
}


def settle_workloads(source: Source, *, smoke: Path | None = None) -> None:
    """Rearrange what was given for a comparison, before it is checked; every value keeps its place for messages.

    `--model a,b` becomes workloads, `{models, datasets}` their list, and what a flag says replaces what a workload of a
    file has for itself, as flags win over files everywhere.

    Args:
        source: The merged values.
        smoke: The file that makes the comparison short: its length is every workload's, its model and data set none's.
    """
    if "workloads" not in source.values:
        _take_lists(source)
    if source.values.get("workloads") is None:
        return
    _spread(source)
    workloads = source.values["workloads"]
    for key, place in list(source.places.items()):
        if key[0] not in SECTIONS or len(key) < 2:
            continue
        of_smoke = smoke is not None and place.origin.startswith(f"{smoke}:")
        if key[1] == "name":
            if of_smoke:
                _forget(source, (str(key[0]), "name"))
        elif (of_smoke or not place.in_file) and isinstance(workloads, list):
            for index, workload in enumerate(workloads):
                _overrule(source, index, workload, str(key[0]), str(key[1]))
    if smoke is not None:
        for name in ("model", "dataset"):  # a bare string has its place in the section's line
            section = source.places.get((name,))
            if section is not None and section.origin.startswith(f"{smoke}:"):
                _forget(source, (name, "name"))


def _take_lists(source: Source) -> None:
    """Make workloads of `--model a,b` and `--dataset c,d`: all pairs."""
    lists: dict[str, tuple[list[str], Place | None]] = {}
    several = False
    for section in PRODUCT.values():
        given = source.values.get(section)
        name = given.get("name") if isinstance(given, dict) else given
        place = source.places.get((section, "name"), source.places.get((section,)))
        names = [name] if isinstance(name, str) else [str(_KINDS[section].model_fields["name"].default)]
        if isinstance(name, str) and "," in name and place is not None and not place.in_file:
            names, several = split_names(name), True
        lists[section] = (names, place)
    if not several or not all(names for names, _ in lists.values()):
        return
    for section in PRODUCT.values():
        _forget(source, (section, "name"))
    source.values["workloads"] = {key: lists[section][0] for key, section in PRODUCT.items()}
    for key, section in PRODUCT.items():
        place = lists[section][1]
        if place is not None:
            source.places["workloads", key] = place


def _spread(source: Source) -> None:
    """Put the list of all pairs in place of `{models, datasets}`."""
    product = source.values["workloads"]
    if not isinstance(product, dict):
        return
    try:
        pairs = expanded(product)
    except ValueError:  # which the schema says again, with the place
        return
    counts = {key: len(_as_list(product[key])) for key in PRODUCT}
    places = {key: place for key, place in source.places.items() if key[0] == "workloads"}
    for key in places:
        del source.places[key]
    whole = places.get(("workloads",))
    if whole is not None:
        source.places["workloads",] = whole
    for index in range(len(pairs)):
        for name, at in (("models", index // counts["datasets"]), ("datasets", index % counts["datasets"])):
            for found, place in places.items():
                if len(found) > 1 and found[1] == name and (len(found) == 2 or found[2] == at):
                    source.places["workloads", index, PRODUCT[name], *found[3:]] = place
    source.values["workloads"] = pairs


def _as_list(value: Any) -> list[Any]:
    return split_names(value) if isinstance(value, str) else value


def _overrule(source: Source, index: int, workload: Any, section: str, name: str) -> None:
    """Take away what a workload has for itself and a flag says."""
    own = workload.get(section) if isinstance(workload, dict) else None
    if not isinstance(own, dict):
        return
    gone = {name, *(other for group in _KINDS[section].alternatives if name in group for other in group)}
    for one in gone & own.keys():
        del own[one]
        for key in [key for key in source.places if key[:4] == ("workloads", index, section, one)]:
            del source.places[key]


def _forget(source: Source, key: tuple[str, str]) -> None:
    """Take away the name of the comparison's model or data set; what else is said of it holds for all workloads."""
    section, name = key
    values = source.values.get(section)
    if isinstance(values, dict):
        values = {other: value for other, value in values.items() if other != name}
        source.values[section] = values
    if not isinstance(values, dict) or not values:
        source.values.pop(section, None)
    source.places.pop(key, None)
    if section not in source.values:
        source.places.pop((section,), None)
