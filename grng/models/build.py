"""Any timm model by name, or one of our own, with the channels, classes and image size of the data set.

A model is tried on one black image before it is handed out, so that a wrong image size is a message before training and
not a traceback within it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError
from grng.models.names import check_model_kwargs, check_model_name
from grng.models.own import build_own, is_own
from grng.models.pretrained import one_line, pretrained_problem

if TYPE_CHECKING:
    from torch import nn


def create_model(
    name: str, *, channels: int, num_classes: int, img_size: int, pretrained: bool = False, **kwargs: Any
) -> nn.Module:
    """Return the model `name`, its weights drawn from torch's global generator or pretrained ones.

    The random draws are those of building the model once, whatever else is tried. Only with `pretrained` is anything
    downloaded.

    Args:
        name: A name of `list_models`; with `pretrained` also with a tag, `vit_tiny_patch16_224.augreg_in21k`.
        channels: Channels of the images; pretrained input convolutions are adapted to them as timm does.
        num_classes: Number of classes, at least 2; where the pretrained classifier has another number, it is new.
        img_size: Height and width of the images in pixels; pretrained position embeddings are resized to it.
        pretrained: Load timm's weights, from the hub or its cache.
        **kwargs: Keyword arguments of the model's constructor.

    Raises:
        UnknownNameError: If there is no such model, or it has no such weights.
        GrngError: If the model does not take a keyword argument, this image size, or this number of classes, or the
            weights cannot be had.
    """
    check_model_name(name, pretrained=pretrained)
    if num_classes < 2:
        raise GrngError(f"a model needs at least 2 classes to tell apart, the data set has {num_classes}.")
    check_model_kwargs(kwargs)
    kwargs = dict(kwargs, pretrained=pretrained, in_chans=channels, num_classes=num_classes)
    model = (build_own if is_own(name) else _build)(name, kwargs, img_size)
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
            return timm.create_model(name, **kwargs, **extra)
        except TypeError as error:
            if extra and "'img_size'" in str(error):
                continue
            refused = _refusal(name, error, img_size)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            refused = _refusal(name, error, img_size)
            if kwargs["pretrained"]:
                refused = pretrained_problem(name, error) or refused
        break
    torch.set_rng_state(state)
    raise refused or GrngError(f"timm could not build {name}.")


def _refusal(name: str, error: Exception, img_size: int) -> GrngError:
    text = one_line(error)
    if "unexpected keyword argument" in text:
        key = text.rpartition("argument ")[2].strip("'")
        return GrngError(f"the model {name} takes no argument {key!r}.", where="model.kwargs")
    return GrngError(f"timm could not build {name} for images of {img_size}×{img_size} pixels: {text.rstrip('.')}.")


def _try_one_image(model: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int) -> None:
    """Check the output's shape for one black image, leaving modes, statistics and random generators as they were."""
    import torch

    with evaluating(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            output = model(torch.zeros(1, *shape))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            text = one_line(error)
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
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and back into its own afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
