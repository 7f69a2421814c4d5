"""Weights from a file that others wrote: read without running anything that it may bring along.

safetensors files hold nothing but tensors; torch's are read with `weights_only=True`, which refuses every class and
function that is not on torch's list.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grng.errors import GrngError, suggest
from grng.seal import BrokenSealError, check_seal, was_sealed

if TYPE_CHECKING:
    from torch import Tensor

WHERE = "model.weights"

# Under which keys training scripts keep weights; averaged ones come first, as timm prefers them.
_ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
)
_CHUNK = 1 << 20
_HEADER_BYTES = 8
_KINDS = "Weights are read from .safetensors files and from what torch.save writes (.pt, .pth, .bin)."


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Args:
        state: The tensors by name, without the prefixes of wrappers (`module.`, `_orig_mod.`).
        entry: Under which key of the file they were found, `model`; empty: it holds nothing else.
    """

    state: dict[str, Tensor]
    entry: str


def weights_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of the file at `path`, which must be a file that can be read.

    Raises:
        GrngError: If it cannot.
    """
    path = path.expanduser()
    _check_place(path)
    try:
        status = path.stat()
        return _sha256(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=16)
def _sha256(path: Path, changed: int, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_weights(path: Path) -> WeightsFile:
    """Return the weights in the file at `path`, on the CPU.

    Raises:
        GrngError: If there is no such file, it is damaged, holds no weights, or asks for code to be run.
    """
    from timm.models import clean_state_dict

    path = path.expanduser()
    _check_place(path)
    try:
        content = _load_safetensors(path) if _is_safetensors(path) else _load_torch(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    found, entry = _unwrapped(content)
    tensors = {str(name): value.detach() for name, value in found.items() if _is_tensor(value)}
    if not tensors:
        raise GrngError(f"{path} holds no weights{_listed(content)}.", where=WHERE, hint=_KINDS)
    return WeightsFile(clean_state_dict(tensors), entry)


def _check_place(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise GrngError(f"{path} is a directory, not a file of weights.", where=WHERE)
    if path.exists():
        raise GrngError(f"{path} is no regular file.", where=WHERE)
    try:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        beside = []
    raise GrngError(f"there is no file {path}.", where=WHERE, hint=suggest(path.name, beside))


def _is_safetensors(path: Path) -> bool:
    """Tell by the first bytes: the header's length, then the header, which is JSON; or by the name."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES + 1)
    return path.suffix == ".safetensors" or start[_HEADER_BYTES:] == b"{"


def _load_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _load_torch(path: Path) -> Any:
    import torch

    try:
        # timm's own checkpoints hold the arguments of the training script in an argparse.Namespace.
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([argparse.Namespace]),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            if was_sealed(file):  # torch does not notice a flipped bit, which would be another model
                check_seal(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except BrokenSealError as error:
        raise GrngError(
            f"{path} is damaged: {error}.",
            where=WHERE,
            hint="It is a checkpoint of grng's, and no longer what was written; others of the same run may be whole.",
        ) from error
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise _damaged(path, error) from error
        raise GrngError(
            f"{path} holds more than tensors and plain values: it asks for {wanted[1]}, which reading might run. "
            "It was not read.",
            where=WHERE,
            hint="Only if you trust its author: load it elsewhere and save its state_dict as safetensors.",
        ) from error
    except Exception as error:  # the reader of a damaged file may stumble over anything
        raise _damaged(path, error) from error


def _unwrapped(content: Any) -> tuple[Mapping[Any, Any], str]:
    """Return the mapping that holds the tensors, and the keys that lead to it."""
    keys: list[str] = []
    while isinstance(content, Mapping):
        inner = next((key for key in _ENTRIES if isinstance(content.get(key), Mapping) and content[key]), None)
        if inner is None:
            return content, ".".join(keys)
        keys.append(inner)
        content = content[inner]
    return {}, ""


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _listed(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f", but a {type(content).__name__}"
    names = ", ".join(map(repr, list(content)[:5])) + (", …" if len(content) > 5 else "")
    return f", but {names}" if content else ": it is empty"


def _damaged(path: Path, error: Exception) -> GrngError:
    # torch advises to read it without weights_only, which nobody should do; what it stumbled over comes last.
    said = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
    line = said[1] if said else (str(error).strip().splitlines() or [type(error).__name__])[0]
    first = line.partition(". ")[0][:200].rstrip(". ")
    return GrngError(f"{path} is damaged or holds no weights: {first}.", where=WHERE, hint=_KINDS)


def _unreadable(path: Path, error: OSError) -> GrngError:
    return GrngError(f"{path} cannot be read: {error.strerror or error}.", where=WHERE)
