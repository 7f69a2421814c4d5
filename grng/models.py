"""Any timm model by name, with the channels, classes and image size of the data set.

A model is tried on one black image before it is handed out, so that a wrong image size is a message before training and
not a traceback within it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError, UnknownNameError, nearest, suggest

if TYPE_CHECKING:
    from torch import nn

# What create_model sets itself, or what would reach for weights or for another model than the named one.
_RESERVED = {
    "model_name": "Set model.name instead.",
    "name": "Set model.name instead.",
    "num_classes": "It follows from the data set.",
    "in_chans": "It follows from the data set.",
    "channels": "It follows from the data set.",
    "img_size": "Set dataset.img_size (--img-size) instead.",
    "pretrained": "Models are trained from their initial weights.",
    "pretrained_cfg": "Models are trained from their initial weights.",
    "pretrained_cfg_overlay": "Models are trained from their initial weights.",
    "checkpoint_path": "Models are trained from their initial weights.",
    "cache_dir": "Models are trained from their initial weights.",
    "features_only": "The model must end in a classifier.",
}


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models())


def list_models(pattern: str = "*") -> list[str]:
    """Return timm's model names that match `pattern`, sorted.

    Args:
        pattern: With `*` and `?` as in file names; `vit*`.

    Raises:
        UnknownNameError: If none matches.
    """
    import timm

    found = list(timm.list_models(pattern))
    if not found:
        hint = suggest(pattern.strip("*"), _names(), otherwise="Put * for any letters: 'vit*' or '*resnet*'.")
        raise UnknownNameError(f"no model of timm matches {pattern!r}.", hint=hint)
    return found


def check_model_name(name: str) -> None:
    """Raise `UnknownNameError` with the nearest names unless timm has a model `name`."""
    if name in _names():
        return
    base, _, tag = name.partition(".")
    if tag and base in _names():
        raise UnknownNameError(
            f"the model name {name!r} names pretrained weights, and models are trained from their initial weights.",
            hint=f"Write {base!r}.",
        )
    parts = [candidate for candidate in _names() if name.casefold() in candidate][:3]
    near = nearest(name, _names()) or parts
    listed = " or ".join(repr(candidate) for candidate in near)
    hint = f"Did you mean {listed}?" if near else "`grng models list` shows all of them."
    raise UnknownNameError(f"timm has no model {name!r}.", hint=hint)


def check_model_kwargs(names: Iterable[str]) -> None:
    """Raise a `GrngError` if a keyword argument's name is not for the user to set."""
    for name in names:
        if name in _RESERVED:
            raise GrngError(f"cannot set {name!r}.", where="model.kwargs", hint=_RESERVED[name])


def create_model(name: str, *, channels: int, num_classes: int, img_size: int, **kwargs: Any) -> nn.Module:
    """Return timm's model `name` with fresh weights, drawn from torch's global generator.

    Nothing is downloaded. The random draws are those of building the model once, whatever else is tried.

    Args:
        name: A name of `list_models`.
        channels: Channels of the images.
        num_classes: Number of classes, at least 2.
        img_size: Height and width of the images in pixels.
        **kwargs: Keyword arguments of the model's constructor.

    Raises:
        UnknownNameError: If timm has no such model.
        GrngError: If the model does not take a keyword argument, this image size, or this number of classes.
    """
    check_model_name(name)
    if num_classes < 2:
        raise GrngError(f"a model needs at least 2 classes to tell apart, the data set has {num_classes}.")
    check_model_kwargs(kwargs)
    model = _build(name, dict(kwargs, in_chans=channels, num_classes=num_classes), img_size)
    _try_one_image(model, name, (channels, img_size, img_size), num_classes)
    return model


def _build(name: str, kwargs: dict[str, Any], img_size: int) -> nn.Module:
    """Build the model, telling its image size to those that want to know it.

    timm marks the models that always need it (`fixed_input_size`); others, such as MaxViT, take it without the mark,
    and convolutional ones refuse it: only asking tells them apart.
    """
    import timm
    import torch

    state = torch.get_rng_state()
    refused: GrngError | None = None
    attempts: tuple[dict[str, Any], ...] = ({"img_size": img_size}, {})
    for extra in attempts:
        torch.set_rng_state(state)
        try:
            return timm.create_model(name, pretrained=False, **kwargs, **extra)
        except TypeError as error:
            if extra and "'img_size'" in str(error):
                continue
            refused = _refusal(name, error, img_size)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            refused = _refusal(name, error, img_size)
        break
    torch.set_rng_state(state)
    raise refused or GrngError(f"timm could not build {name}.")


def _refusal(name: str, error: Exception, img_size: int) -> GrngError:
    text = " ".join(str(error).split()) or type(error).__name__
    if "unexpected keyword argument" in text:
        key = text.rpartition("argument ")[2].strip("'")
        return GrngError(f"the model {name} takes no argument {key!r}.", where="model.kwargs")
    return GrngError(f"timm could not build {name} for images of {img_size}×{img_size} pixels: {text.rstrip('.')}.")


def _try_one_image(model: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int) -> None:
    """Check the output's shape for one black image, leaving modes, statistics and random generators as they were."""
    import torch

    with _evaluating(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            output = model(torch.zeros(1, *shape))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise GrngError(
                f"the model {name} cannot take images of {shape[1]}×{shape[2]} pixels: {text.rstrip('.')}.",
                hint="Set another dataset.img_size (--img-size): 224 suits most. Or is it model.kwargs?",
            ) from error
    if not isinstance(output, torch.Tensor) or output.shape != (1, num_classes):
        found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise GrngError(
            f"the model {name} cannot tell {num_classes} classes apart: for one image it gives {found}, "
            f"not [1, {num_classes}]."
        )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
