"""Cutting a missing validation or test split from the training pictures, each class in the same proportion."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from grng.data.doors import Role
from grng.errors import GrngError


def stratified(
    names: Sequence[str], labels: Sequence[int], shares: Mapping[Role, float], *, seed: int
) -> dict[Role, list[int]]:
    """Share pictures out among the training split and those that are missing.

    Within each class the pictures are ordered by a hash of seed and name, so that the same pictures make the same
    splits whatever order they are found in, and one picture more moves few others.

    Args:
        names: One for each picture, all different.
        labels: Its class.
        shares: The fraction of each missing split; the rest is for training.
        seed: Another seed shares them out otherwise.

    Returns:
        Sorted indices for "train" and for every key of `shares`. A class of one picture is only in the training split.

    Raises:
        GrngError: If a split comes out empty.
    """
    classes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        classes.setdefault(label, []).append(index)
    parts: dict[Role, list[int]] = {"train": [], **{role: [] for role in shares}}
    for members in classes.values():
        members.sort(key=lambda index: hashlib.sha256(f"{seed}/{names[index]}".encode("utf-8", "replace")).digest())
        begun = 0
        for role, share in shares.items():
            # Each class has at least one picture in each split as long as one is left for training.
            count = min(max(1, round(share * len(members))), max(0, len(members) - 1 - begun))
            parts[role] += members[begun : begun + count]
            begun += count
        parts["train"] += members[begun:]
    for role, part in parts.items():
        if not part:
            raise GrngError(
                f"{len(names)} pictures in {len(classes)} classes are too few to cut a {_WORDS[role]} split from.",
                where="dataset.data_dir",
                hint="Every class needs at least 3 pictures, or give the split itself.",
            )
    return {role: sorted(part) for role, part in parts.items()}


_WORDS: dict[Role, str] = {"train": "training", "val": "validation", "test": "test"}
