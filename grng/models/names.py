"""The names of models, timm's and our own, and of pretrained weights."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from grng.errors import GrngError, UnknownNameError, nearest, suggest
from grng.models.own import OWN_MODELS, is_own

_ELSEWHERE = "Set model.pretrained (--pretrained) or model.weights (--weights) instead."

# What create_model sets itself, or what a key of its own is for.
_RESERVED = {
    "model_name": "Set model.name instead.",
    "name": "Set model.name instead.",
    "num_classes": "It follows from the data set.",
    "in_chans": "It follows from the data set.",
    "channels": "It follows from the data set.",
    "img_size": "Set dataset.img_size (--img-size) instead.",
    "pretrained": _ELSEWHERE,
    "pretrained_cfg": _ELSEWHERE,
    "pretrained_cfg_overlay": _ELSEWHERE,
    "checkpoint_path": _ELSEWHERE,
    "cache_dir": "Set the environment variable HF_HOME instead.",
    "features_only": "The model must end in a classifier.",
}


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    import timm

    return (*timm.list_models(), *OWN_MODELS)


@lru_cache(maxsize=8)
def is_in_timms_source(name: str) -> bool:
    """Return whether timm's own files register a model `name`, without importing timm.

    That takes seconds and hundreds of MB, since timm loads torchvision and this torch's compiler, for a name that is
    nearly always right. Where the answer is no, timm itself is to be asked: others may register models, too.
    """
    if not (name.isascii() and name.isidentifier()):
        return False
    spec = find_spec("timm")
    registered = re.compile(rb"^@register_model\r?\ndef %b\(" % name.encode(), re.MULTILINE)
    folders = [Path(place, "models") for place in (spec.submodule_search_locations or () if spec else ())]
    return any(registered.search(file.read_bytes()) for folder in folders for file in sorted(folder.glob("[a-z]*.py")))


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Return timm's models that match `pattern`, sorted, and then our own.

    Args:
        pattern: With `*` and `?` as in file names; `vit*`.
        pretrained: List names with the tag of pretrained weights, `vit_tiny_patch16_224.augreg_in21k`.

    Raises:
        UnknownNameError: If none matches.
    """
    import timm

    found = list(timm.list_pretrained(pattern) if pretrained else timm.list_models(pattern))
    if not pretrained:
        found += [name for name in OWN_MODELS if fnmatchcase(name, pattern or "*")]
    if not found:
        kind = "pretrained model" if pretrained else "model"
        hint = suggest(pattern.strip("*"), _names(), otherwise="Put * for any letters: 'vit*' or '*resnet*'.")
        raise UnknownNameError(f"no {kind} of timm matches {pattern!r}.", hint=hint)
    return found


def check_model_name(name: str, *, pretrained: bool = False) -> None:
    """Raise `UnknownNameError` with the nearest names unless there is a model `name`.

    Args:
        name: A name of `list_models`; with `pretrained` also one with a tag.
        pretrained: Whether it must have pretrained weights.
    """
    base, _, tag = name.partition(".")
    if is_own(base) and (pretrained or tag):
        raise UnknownNameError(
            f"the model {base!r} has no pretrained weights.", hint="Leave --pretrained and tags out."
        )
    if not pretrained and (is_own(name) or ("timm" not in sys.modules and is_in_timms_source(name))):
        return
    if base in _names() and pretrained:
        _check_tag(base, tag)
        return
    if name in _names():
        return
    if tag and base in _names():
        raise UnknownNameError(
            f"the model name {name!r} names pretrained weights, and nothing asks for them.",
            hint=f"Add --pretrained (model.pretrained: true), or write {base!r} for other weights.",
        )
    parts = [candidate for candidate in _names() if name.casefold() in candidate][:3]
    near = nearest(name, _names()) or parts
    listed = " or ".join(repr(candidate) for candidate in near)
    hint = f"Did you mean {listed}?" if near else "`grng models list` shows all of them."
    raise UnknownNameError(f"timm has no model {name!r}.", hint=hint)


def pretrained_name(name: str) -> str:
    """Return `name` with the tag of the pretrained weights that timm chooses where none is given.

    Raises:
        UnknownNameError: If there is no such model, or it has no such weights.
    """
    from timm.models import get_pretrained_cfg

    check_model_name(name, pretrained=True)
    base, _, tag = name.partition(".")
    recorded = get_pretrained_cfg(base)
    return f"{base}.{tag or (recorded.tag if recorded else None) or ''}".rstrip(".")


def check_model_kwargs(names: Iterable[str]) -> None:
    """Raise a `GrngError` if a keyword argument's name is not for the user to set."""
    for name in names:
        if name in _RESERVED:
            raise GrngError(f"cannot set {name!r}.", where="model.kwargs", hint=_RESERVED[name])


def _check_tag(base: str, tag: str) -> None:
    import timm

    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
    if tag in tags or (tags and not tag) or (not tag and timm.models.is_model_pretrained(base)):
        return
    if not tags:
        raise UnknownNameError(
            f"timm has no pretrained weights for the model {base!r}.",
            hint=f"Load a file with --weights, or choose another model: `grng models list '{base.split('_')[0]}*' "
            "--pretrained`.",
        )
    hint = suggest(tag, tags, otherwise=f"It has: {', '.join(tags[:8])}{', …' if len(tags) > 8 else ''}.")
    raise UnknownNameError(f"the model {base!r} has no pretrained weights {tag!r}.", hint=hint)
