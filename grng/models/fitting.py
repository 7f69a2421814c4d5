"""Weights of a file put into a model: what fits, what is adapted as timm does, what stays new, what is left over."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from grng.errors import GrngError
from grng.models.classifier import belongs, classifier_modules
from grng.models.nearest_models import best_fits
from grng.models.own import is_own
from grng.models.report import LoadedWeights, listed
from grng.models.weights_file import WHERE, read_weights, weights_sha256
from grng.models.weights_map import rename

_FILTERS = ("checkpoint_filter_fn", "pretrained_filter_fn", "_filter_torchvision_pretrained", "_filter_fn")


@dataclass
class _Match:
    """How a file's tensors meet a model's entries; `replaced` and `adapted` say why, by name."""

    tensors: dict[str, Tensor]
    adapted: dict[str, str]
    replaced: dict[str, str]


def load_weights(model: nn.Module, path: Path, *, name: str, channels: int, rules: Sequence[str] = ()) -> LoadedWeights:
    """Put the weights of a file into `model`.

    What timm does to weights of its own is done to them: names of other implementations are translated and position
    embeddings and patch embeddings resized by the filter of the model's module, an input convolution of another number
    of channels is adapted, a classifier of another number of classes is left new.

    Args:
        model: timm's model, freshly built; it is changed.
        path: The file.
        name: The model's name.
        channels: Channels of the images.
        rules: `grng.models.weights_map`, applied to the file's names first.

    Raises:
        GrngError: If the file cannot be read, or less than half of the model's entries (the classifier's aside) are in
            it; the model is then as it was.
    """
    sha256 = weights_sha256(path)
    file = read_weights(path)
    state = rename(file.state, rules)
    own = model.state_dict()
    head = classifier_modules(model)
    filtered = _filtered(model, state, name)
    match = _matched(model, own, filtered, head, channels)
    body = [entry for entry in own if not belongs(entry, head)]
    fitting = sum(entry in match.tensors for entry in body)
    if 2 * fitting < len(body) or not fitting:
        raise _misfit(path, state, name, head, fitting=fitting, total=len(body))
    _resized(state, filtered, match)
    model.load_state_dict(match.tensors, strict=False)
    return LoadedWeights(
        source=str(path),
        sha256=sha256,
        entry=file.entry or None,
        loaded=len(match.tensors),
        total=len(own),
        adapted=[f"{entry}: {why}" for entry, why in match.adapted.items()],
        replaced=[f"{entry}: {why}" for entry, why in match.replaced.items()],
        missing=[entry for entry in own if entry not in match.tensors and entry not in match.replaced],
        unexpected=[entry for entry in filtered if entry not in own],
    )


def _filtered(model: nn.Module, state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return `state` as the filter of the model's module makes it; as it is where there is none or it stumbles."""
    from timm.models import model_entrypoint

    if is_own(name):
        return dict(state)
    module = sys.modules[model_entrypoint(name).__module__]
    found: Callable[..., Any] | None = next((vars(module)[key] for key in _FILTERS if key in vars(module)), None)
    if found is None:
        return dict(state)
    takes_model = len(inspect.signature(found).parameters) > 1
    try:
        with warnings.catch_warnings():  # of timm's own code, not for users to mend
            warnings.simplefilter("ignore")
            result = found(dict(state), model) if takes_model else found(dict(state))
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # written for weights of this family: with others it may stumble over anything
        return dict(state)
    return {str(key): value for key, value in result.items() if isinstance(value, Tensor)}


def _matched(
    model: nn.Module, own: dict[str, Tensor], state: dict[str, Tensor], head: Sequence[str], channels: int
) -> _Match:
    match = _Match({}, {}, {})
    first = _input_weights(model)
    for entry, target in own.items():
        if entry not in state:
            continue
        value = state[entry]
        change = f"{list(value.shape)} in the file, {list(target.shape)} here"
        if value.shape == target.shape:
            match.tensors[entry] = value
        elif entry in first and (adapted := _adapted_input(value, target, channels)) is not None:
            match.tensors[entry] = adapted
            match.adapted[entry] = change
        else:
            match.replaced[entry] = change
    # A classifier is new as a whole: the bias of a layer whose weight is new means nothing.
    for module in head:
        if any(belongs(entry, [module]) for entry in match.replaced):
            for entry in [entry for entry in match.tensors if belongs(entry, [module])]:
                del match.tensors[entry]
                match.replaced[entry] = "new with its layer"
    return match


def _input_weights(model: nn.Module) -> set[str]:
    recorded = getattr(model, "_traits", {}).get("first_conv") or getattr(model, "pretrained_cfg", {}).get("first_conv")
    names = (recorded,) if isinstance(recorded, str) else tuple(recorded or ())
    return {f"{name}.weight" for name in names}


def _adapted_input(value: Tensor, target: Tensor, channels: int) -> Tensor | None:
    """Return an input convolution's weight for another number of channels, or None where timm cannot."""
    from timm.models import adapt_input_conv

    same_but_channels = value.dim() == target.dim() == 4 and value.shape[0] == target.shape[0]
    if not same_but_channels or value.shape[2:] != target.shape[2:]:
        return None
    folded = max(1, target.shape[1] // channels)  # stems that fold space into channels have several of each
    before = value.shape[1] // folded
    if before * folded != value.shape[1]:
        return None
    try:
        adapted = adapt_input_conv(channels, value, base_chans=before)
    except NotImplementedError:  # timm says of which weights it knows no way
        return None
    return adapted if adapted.shape == target.shape else None


def _resized(state: dict[str, Tensor], filtered: dict[str, Tensor], match: _Match) -> None:
    """Note what the module's filter gave another shape, position embeddings above all."""
    for entry, value in match.tensors.items():
        before = state.get(entry)
        if before is not None and entry not in match.adapted and before.shape != value.shape:
            match.adapted[entry] = f"{list(before.shape)} in the file, {list(value.shape)} here"


def _misfit(
    path: Path, state: dict[str, Tensor], name: str, head: Sequence[str], *, fitting: int, total: int
) -> GrngError:
    fits = best_fits({entry: tuple(value.shape) for entry, value in state.items()}, name, path.stem)
    wrapped = next((f"{entry.partition('.')[0]}." for entry in state), "")
    if fits:
        named = ", ".join(f"{fit.name} ({fit.fitting} of {fit.total})" for fit in fits)
        hint = f"Models that it fits: {named}."
    elif all(entry.startswith(wrapped) for entry in state):
        hint = f"All its names begin with {wrapped!r}: try --weights-map '{wrapped}='."
    elif any(".base_layer." in entry for entry in state):
        hint = "It holds LoRA adapters, which are not merged into the weights they were trained for."
    else:
        hint = f"Its entries are {listed(list(state))}; rename them with --weights-map, or choose another model."
    return GrngError(
        f"{path} does not fit {name}: {fitting or 'none'} of the {total} entries of the model below its classifier "
        f"are among the {len(state)} of the file with the same name and shape.",
        where=WHERE,
        hint=hint,
    )
