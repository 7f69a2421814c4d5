"""LoRA by peft: low-rank adapters beside frozen layers, few parameters train (Hu et al. 2021, arXiv 2106.09685).

    W x  →  W x + (α/r) B A x,       A: [r, inputs] random, B: [outputs, r] zero

B = 0 leaves the outputs as they were. A and B are layers of their own (linear, or convolutions beside a convolution),
so that every optimizer sees them as it sees any layer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grng.errors import GrngError, suggest
from grng.models.classifier import belongs, classifier_modules
from grng.models.freezing import freeze_all_but_classifier

WHERE = "model.lora"
_TARGET = "model.lora.target"
_SHOWN = 12


def add_lora(
    model: nn.Module, *, r: int, alpha: float, target: Sequence[str], dropout: float, shape: tuple[int, int, int]
) -> str:
    """Put adapters beside the layers named by `target`; they and the classifier train, everything else is frozen.

    Args:
        model: timm's model; it is changed.
        r: Rank of the adapters.
        alpha: α, they count α/r.
        target: Names of layers, or the last parts of them: `qkv`, `attn.proj`. The classifier trains in any case.
        dropout: Dropout on the adapters' input.
        shape: Of an image, (channels, height, width), to try that the model calls the layers.

    Returns:
        What was done, in a line.

    Raises:
        GrngError: If peft is not installed, a target names no layer, or the model bypasses a layer named.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise GrngError(
            "LoRA needs the package peft.",
            where=WHERE,
            hint="Install it: `pip install 'grng[lora]'`.",
        ) from error

    names = _targets(model, target)
    head = classifier_modules(model)
    freeze_all_but_classifier(model, where=WHERE)
    exactly = "|".join(map(re.escape, names))  # peft takes a list's items as endings of names, too
    factor: Any = alpha  # peft's annotation says int, it only divides by r
    settings = LoraConfig(r=r, lora_alpha=factor, lora_dropout=dropout, target_modules=exactly, bias="none")
    try:
        inject_adapter_in_model(settings, model)
    except ValueError as error:  # grouped convolutions whose groups the rank does not fit
        raise GrngError(f"peft refuses: {' '.join(str(error).split())}", where=WHERE) from error
    for name, parameter in model.named_parameters():
        if belongs(name, head):
            parameter.requires_grad_(True)
    _check_called(model, shape)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    shown = ", ".join(_patterns(names))
    return f"LoRA: rank {r} beside {len(names)} layers ({shown}); with the classifier {trained:,} parameters train"


def _targets(model: nn.Module, target: Sequence[str]) -> list[str]:
    """Return the full names of the layers that `target` names."""
    head = classifier_modules(model)
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not belongs(name, head)
    ]
    chosen: dict[str, None] = {}
    for wanted in target:
        matched = [name for name in layers if name == wanted or name.endswith(f".{wanted}")]
        if not matched:
            if belongs(wanted, head):
                raise GrngError(f"the classifier {wanted!r} trains as a whole anyway.", where=_TARGET)
            lasts = list(dict.fromkeys(name.rpartition(".")[2] for name in layers))
            known = _patterns(layers)
            more = ", …" if len(known) > _SHOWN else ""
            raise GrngError(
                f"no linear or convolutional layer is named {wanted!r}. There are {', '.join(known[:_SHOWN])}{more}.",
                where=_TARGET,
                hint=suggest(wanted, lasts),
            )
        chosen.update(dict.fromkeys(matched))
    return list(chosen)


def _patterns(names: Sequence[str]) -> list[str]:
    """Return names with their numbers as stars, each once: `blocks.*.attn.qkv`."""
    return list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names))


def _check_called(model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Refuse adapters that the model never runs, since it uses the layer's weight without calling the layer."""
    from peft.tuners.lora import LoraLayer

    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    called: set[str] = set()
    with contextlib.ExitStack() as hooked:
        for name, module in adapters.items():
            hooked.enter_context(_noting(module, name, called))
        with _quietly(model):
            model(torch.zeros(1, *shape))
    idle = [name for name in adapters if name not in called]
    if idle:
        raise GrngError(
            f"the model uses the weight of {', '.join(_patterns(idle))} without calling the layer: an adapter there "
            "would do nothing.",
            where=_TARGET,
            hint="Choose other layers.",
        )


@contextlib.contextmanager
def _noting(module: Any, name: str, called: set[str]) -> Iterator[None]:
    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], _outputs: Tensor) -> None:
        called.add(name)

    handle = module.register_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _quietly(model: nn.Module) -> Iterator[None]:
    """Leave modes, statistics and random generators as they are."""
    from grng.models.build import evaluating

    with evaluating(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        yield
