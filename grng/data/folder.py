"""Pictures in one folder a class.

Either the classes' folders lie in the folder itself, or below `train` (`training`) and perhaps `val` (`valid`,
`validation`, …) and `test`. A class's pictures may lie in folders of their own within it. Hidden files and folders are
left alone, links are followed, each folder once: a link to a folder above is no endless walk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grng.data.doors import ROLES, SPLIT_NAMES, Role
from grng.data.pictures import FilePictures, Source
from grng.errors import GrngError

WHERE = "dataset.data_dir"
_SHOWN = 5


@dataclass
class _Tree:
    """One split as it is on the disk: the paths of each class, relative to the data directory."""

    folder: Path
    classes: dict[str, list[str]] = field(default_factory=dict)
    loose: int = 0
    others: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of pictures."""
        return sum(map(len, self.classes.values()))


def open_folder(root: Path, *, strict: bool) -> Source:
    """Return the pictures below `root`.

    Args:
        root: The data directory.
        strict: Whether a class without pictures is an error; else it is left out, with a note.

    Raises:
        GrngError: If there is no such folder, or it is not arranged as above.
    """
    if not root.exists():
        raise GrngError(f"there is no folder {root}.", where=WHERE)
    if not root.is_dir():
        raise GrngError(f"{root} is a file, not a folder.", where=WHERE, hint="Give the folder with the classes.")
    try:
        trees = {role: _read(folder, root) for role, folder in _split_folders(root).items()}
    except OSError as error:
        raise GrngError(f"{error.filename or root} cannot be read: {error.strerror}.", where=WHERE) from error
    notes = [note for role, tree in trees.items() for note in _check_tree(role, tree, strict=strict)]
    names = tuple(sorted(name for name, paths in trees["train"].classes.items() if paths))
    notes += _check_classes(trees, names)
    index = {name: label for label, name in enumerate(names)}
    pools = {}
    for role, tree in trees.items():
        pairs = sorted((path, index[name]) for name, paths in tree.classes.items() for path in paths)
        pools[role] = FilePictures(root, [path for path, _ in pairs], [label for _, label in pairs])
    return Source(names, pools, tuple(notes))


def _split_folders(root: Path) -> dict[Role, Path]:
    """Return the folder of each split there is; `root` itself is the training split if none is named so."""
    present = {entry.name.casefold(): entry for entry in _folders(root)}
    found: dict[Role, list[str]] = {role: [name for name in SPLIT_NAMES[role] if name in present] for role in ROLES}
    for names in found.values():
        if len(names) > 1:
            raise GrngError(f"{root} has both {names[0]}/ and {names[1]}/.", where=WHERE, hint="Keep one of them.")
    if not found["train"]:
        if present and all(name in sum(SPLIT_NAMES.values(), ()) for name in present):
            raise GrngError(f"{root} has no folder train/.", where=WHERE, hint="Training needs one.")
        return {"train": root}
    return {role: present[names[0]] for role, names in found.items() if names}


def _read(folder: Path, root: Path) -> _Tree:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    extensions = set(IMG_EXTENSIONS)
    tree = _Tree(folder)
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and not entry.name.startswith("."):
            tree.loose += entry.suffix.lower() in extensions
    for entry in _folders(folder):
        paths = tree.classes.setdefault(entry.name, [])
        for file in _files(entry, {os.path.realpath(folder)}):
            suffix = file.suffix.lower()
            if suffix in extensions:
                paths.append(file.relative_to(root).as_posix())
            elif suffix:
                tree.others[suffix] = tree.others.get(suffix, 0) + 1
    return tree


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Yield the files in `folder` and below that are not hidden; a folder in `seen` is not entered again."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry, seen)
        elif entry.is_file():
            yield entry


def _check_tree(role: Role, tree: _Tree, *, strict: bool) -> list[str]:
    """Raise what is wrong with one split; return what is to be noted."""
    if not tree.count:
        if tree.loose:
            raise GrngError(
                f"{tree.folder} has {tree.loose} pictures that lie in no class's folder.",
                where=WHERE,
                hint="Put them into one folder a class: cat/1.jpg, dog/2.jpg, …",
            )
        seen = ", ".join(sorted(tree.others, key=lambda suffix: -tree.others[suffix])[:_SHOWN])
        raise GrngError(
            f"{tree.folder} has no pictures in folders below it{f', only files {seen}' if seen else ''}.",
            where=WHERE,
            hint="Read are .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .ppm and .pgm, in one folder a class: "
            "cat/1.jpg, dog/2.jpg, …",
        )
    empty = [name for name, paths in tree.classes.items() if not paths]
    notes = []
    if empty and role == "train":
        text = f"{_listed(empty)} in {tree.folder} {'has' if len(empty) == 1 else 'have'} no pictures"
        if strict:
            raise GrngError(f"{text}.", where=WHERE, hint="Remove what is empty, or leave --strict-data out.")
        notes.append(f"{text}: left out, and no {'class' if len(empty) == 1 else 'classes'} of the model")
    for name in empty:
        del tree.classes[name]
    if tree.others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(tree.others.items()))
        notes.append(f"files in {tree.folder} that are no pictures by their names are left out: {kinds}")
    if tree.loose:
        notes.append(f"{tree.loose} pictures in {tree.folder} lie in no class's folder and are left out")
    return notes


def _check_classes(trees: dict[Role, _Tree], names: tuple[str, ...]) -> list[str]:
    """Raise if a split has classes that training lacks; return which classes are missing in others."""
    notes = []
    for role, tree in trees.items():
        strangers = sorted(set(tree.classes) - set(names))
        if strangers:
            raise GrngError(
                f"{_listed(strangers)} in {tree.folder} {'is' if len(strangers) == 1 else 'are'} not among the classes "
                f"of {trees['train'].folder}.",
                where=WHERE,
                hint=f"The classes of training are {_listed(list(names))}.",
            )
        missing = sorted(set(names) - set(tree.classes))
        if role != "train" and missing:
            notes.append(f"{tree.folder} has no pictures of {_listed(missing)}")
    return notes


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
