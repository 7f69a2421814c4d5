"""Which timm models a file of weights fits best, by names and shapes: models are built without memory for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from grng.errors import nearest
from grng.models.own import is_own

_MOST_MODELS = 60
_MOST_SECONDS = 6.0  # of computing, so that the answer does not depend on what else the machine does
_SHOWN = 3
_STEM = 12

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Fit:
    """How many of a model's entries, its classifier aside, are in a file with the same name and shape."""

    name: str
    fitting: int
    total: int


def best_fits(shapes: Shapes, name: str, stem: str) -> list[Fit]:
    """Return the models that fit best, of those that are worth a try, the best first; at least half of each fits.

    Args:
        shapes: The file's entries.
        name: The model that it was meant for: its family is tried.
        stem: The file's name without suffix, `resnet50-0676ba61`: models of such a name are tried.
    """
    begun = time.process_time()
    found: list[tuple[float, Fit]] = []
    for candidate in _candidates(name, stem.partition("-")[0].partition(".")[0]):
        if time.process_time() - begun > _MOST_SECONDS:
            break
        fit = _fit(shapes, candidate)
        if fit is not None and 2 * fit.fitting >= fit.total:
            found.append((fit.fitting / max(fit.total, len(shapes)), fit))
    found.sort(key=lambda scored: -scored[0])  # stable: the nearer names first among equals
    return [fit for _, fit in found[:_SHOWN]]


def _candidates(name: str, stem: str) -> Iterator[str]:
    import timm
    from timm.models import model_entrypoint

    module = None if is_own(name) else model_entrypoint(name).__module__.rpartition(".")[2]
    family = [] if module is None else list(timm.list_models(module=module))
    every = timm.list_models()
    begins = [other for other in every if len(stem) > 3 and other.startswith(stem)]
    by_file = [*begins, *nearest(stem, every, count=_STEM)]
    ordered = [*by_file[:_STEM], *timm.list_models("test_*"), *nearest(name, family, count=_STEM), *family]
    yield from [other for other in dict.fromkeys(ordered) if other != name][:_MOST_MODELS]


def _fit(shapes: Shapes, name: str) -> Fit | None:
    body = _body(name)
    if body is None:
        return None
    return Fit(name, sum(_alike(shapes.get(entry), shape) for entry, shape in body.items()), len(body))


@lru_cache(maxsize=256)
def _body(name: str) -> Shapes | None:
    """Return the entries of a model, its classifier aside; None if it cannot be built so."""
    import timm
    import torch

    from grng.models.classifier import belongs, classifier_modules

    try:
        with torch.device("meta"):
            model = timm.create_model(name)
    except Exception:  # some models compute with their weights while they are built
        return None
    head = classifier_modules(model)
    return {entry: tuple(value.shape) for entry, value in model.state_dict().items() if not belongs(entry, head)}


def _alike(found: tuple[int, ...] | None, wanted: tuple[int, ...]) -> bool:
    """Return whether two shapes are the same, or two convolutions differ in their input channels, 1 and 3 say."""
    if found is None or found == wanted:
        return found is not None
    convolutions = len(found) == len(wanted) == 4
    return convolutions and found[:1] + found[2:] == wanted[:1] + wanted[2:] and {1, 3} == {found[1], wanted[1]}
