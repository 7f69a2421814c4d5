"""Hugging Face data sets: a name on the hub, a folder that `load_dataset` reads, or one that `save_to_disk` wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from grng.data.doors import ROLES, SPLIT_NAMES, Role
from grng.data.pictures import Pictures, Source, decode
from grng.errors import GrngError, suggest

_INSTALL = "Install it: pip install 'grng[hf]'."
_SAVED = ("dataset_dict.json", "state.json")
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class")


class HfPictures:
    """The rows of a `datasets.Dataset`.

    Args:
        rows: With undecoded pictures.
        image: The column with the pictures.
        labels: The class of each row.
        role: Its split, for names.
    """

    def __init__(self, rows: Any, image: str, labels: Sequence[int], role: Role) -> None:
        self._rows = rows
        self._image = image
        self._role = role
        self.labels = labels

    def name(self, index: int) -> str:
        """Return split and number."""
        return f"{self._role}[{index:07d}]"

    def read(self, index: int) -> Image.Image:
        """Return the picture, decoded."""
        entry = self._rows[index][self._image]
        data = entry.get("bytes")
        return decode(data if data else Path(entry["path"]).read_bytes())


def open_hf(name: str, cache: Path | None, *, download: bool, input_key: str | None, target_key: str | None) -> Source:
    """Return a Hugging Face data set.

    Args:
        name: On the hub, or a path.
        cache: Where downloads are kept; None: where `datasets` keeps them.
        download: Whether to download what is missing.
        input_key: The column with the pictures; None: the only one.
        target_key: The column with the classes; None: `label`, or the only one of classes.

    Raises:
        GrngError: If the package, the data, or a column is missing.
    """
    try:
        import datasets
    except ImportError as error:
        text = "Hugging Face data sets need the package datasets."
        raise GrngError(text, where="dataset.name", hint=_INSTALL) from error
    with _quiet(datasets):
        splits = _splits(_loaded(datasets, name, cache, download=download), name)
    first = splits["train"].features
    image = _image_column(datasets, first, input_key)
    label = _label_column(datasets, first, target_key, image)
    columns = {role: list(rows[label]) for role, rows in splits.items()}
    names = _class_names(first[label], columns)
    index = {value: number for number, value in enumerate(sorted(set(columns["train"])))}
    pools: dict[Role, Pictures] = {}
    for role, rows in splits.items():
        values = columns[role]
        if not isinstance(first[label], datasets.ClassLabel):
            strangers = sorted(set(values) - set(index), key=str)
            if strangers:
                raise GrngError(
                    f"the split {role} of {name} has classes that training has not: {strangers[:5]}.",
                    where="dataset.name",
                )
            values = [index[value] for value in values]
        if min(values, default=0) < 0:
            raise GrngError(f"the split {role} of {name} has pictures without a class.", where="dataset.name")
        undecoded = rows.cast_column(image, datasets.Image(decode=False))
        pools[role] = HfPictures(undecoded, image, [int(value) for value in values], role)
    return Source(names, pools)


def _loaded(datasets: Any, name: str, cache: Path | None, *, download: bool) -> Any:
    path = Path(name)
    if path.is_dir() and any((path / marker).exists() for marker in _SAVED):
        return datasets.load_from_disk(str(path))
    local = not download and not path.exists()
    try:
        with _offline(datasets) if local else contextlib.nullcontext():
            return datasets.load_dataset(
                name,
                cache_dir=None if cache is None else str(cache),
                download_config=datasets.DownloadConfig(local_files_only=local),
            )
    except Exception as error:
        text = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
        if download or path.exists():
            where = "dataset.download" if download else "dataset.name"
            raise GrngError(f"hfds/{name} cannot be loaded: {text[:300]}.", where=where) from error
        raise GrngError(
            f"hfds/{name} is not on this machine.",
            where="dataset.name",
            hint="Give --download to download it (into --data-dir, if given), or the path of a folder.",
        ) from error


def _splits(loaded: Any, name: str) -> dict[Role, Any]:
    if not isinstance(loaded, Mapping):
        return {"train": loaded}
    present = {str(key).casefold(): value for key, value in loaded.items()}
    found: dict[Role, Any] = {}
    for role in ROLES:
        known = next((present[key] for key in SPLIT_NAMES[role] if key in present), None)
        if known is not None:
            found[role] = known
    if "train" not in found:
        raise GrngError(f"hfds/{name} has no split train, only {', '.join(present)}.", where="dataset.name")
    return found


def _image_column(datasets: Any, features: Mapping[str, Any], given: str | None) -> str:
    pictures = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    return _column(given, "input_key", features, pictures, "pictures")


def _label_column(datasets: Any, features: Mapping[str, Any], given: str | None, image: str) -> str:
    classes = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    named = [key for key in _LABEL_NAMES if key in features and key != image]
    return _column(given, "target_key", features, named[:1] or classes, "classes")


def _column(given: str | None, key: str, features: Mapping[str, Any], found: list[str], what: str) -> str:
    where = f"dataset.{key}"
    if given is not None:
        if given not in features:
            hint = suggest(given, features, otherwise=f"The columns are {', '.join(features)}.")
            raise GrngError(f"there is no column {given!r}.", where=where, hint=hint)
        return given
    if len(found) != 1:
        several = f"{len(found)} columns have" if found else "no column has"
        hint = f"Say which with --set {where}=NAME: {', '.join(found or features)}."
        raise GrngError(f"{several} {what}.", where=where, hint=hint)
    return found[0]


def _class_names(feature: Any, columns: Mapping[Role, Sequence[Any]]) -> tuple[str, ...]:
    names = getattr(feature, "names", None)
    return tuple(map(str, names)) if names else tuple(str(value) for value in sorted(set(columns["train"])))


@contextlib.contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Ask no server within the block: `load_dataset` would look there first, and wait for an answer."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Have no progress bars of `datasets` within the block."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
