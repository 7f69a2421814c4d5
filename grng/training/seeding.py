"""Where every random number of a run comes from.

One seed is split into independent streams, one for each purpose, so that an optimizer which draws random numbers
(sampled labels, Hutchinson vectors) cannot shift the data order or the dropout masks of the run it is compared with:

    init           weights of a fresh model
    order          the order of the training samples, a stream of its own for each epoch
    augmentation   random changes of the training images
    mixing         Mixup's and CutMix's draws, a stream of its own for each step
    forward        dropout and drop path: torch's global generators during training, saved in checkpoints; of several
                   processes a stream of its own for each process and step
    optimizer      the `seed` handed to the optimizer, which keeps its own generator in its state
    diagnostics    the sample that diagnostics measure on, and their random vectors
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

Purpose = Literal["init", "order", "augmentation", "mixing", "forward", "optimizer", "diagnostics"]


def derive(seed: int, purpose: Purpose, *parts: int) -> int:
    """Return the 63-bit seed of one stream.

    Args:
        seed: The run's seed.
        purpose: What the stream is for.
        parts: Further coordinates of the stream, such as the epoch.

    Returns:
        The first 63 bits of sha256 over seed, purpose and parts: the same on every machine, unrelated between
        neighbouring seeds.
    """
    text = "/".join(["grng", str(int(seed)), purpose, *(str(int(part)) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: Purpose, *parts: int) -> torch.Generator:
    """Return a CPU generator at the start of one stream (arguments as for `derive`)."""
    return torch.Generator().manual_seed(derive(seed, purpose, *parts))


def seed_global(seed: int) -> None:
    """Seed the global generators of torch (every device), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what third-party models draw from
    random.seed(seed)


def rng_state() -> dict[str, Any]:
    """Return the state of all global generators, of types that `torch.load(weights_only=True)` accepts."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "python": (version, torch.tensor(internal), gauss),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put all global generators into a state that `rng_state` returned."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))


@contextlib.contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave all global generators as they were, whatever the block draws from them."""
    before = rng_state()
    try:
        yield
    finally:
        set_rng_state(before)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with the global generators at `seed`, and leave them as they were."""
    with preserved_rng():
        seed_global(seed)
        yield
