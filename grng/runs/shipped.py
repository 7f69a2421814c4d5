"""The configs that come with the package, by name: `smoke`, `train/ring`."""

from __future__ import annotations

from pathlib import Path

from grng.errors import UnknownNameError, nearest

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "_configs", _PACKAGE.parent / "configs")
_SUFFIX = ".yaml"


def configs_folder() -> Path:
    """Return the folder of the shipped configs: inside an installed package, or beside it in a checkout."""
    # Beside an installed package lies the whole of site-packages, and somebody else's `configs` may be among it.
    return next((folder for folder in _FOLDERS if (folder / f"smoke{_SUFFIX}").is_file()), _FOLDERS[0])


def list_configs() -> list[str]:
    """Return the names of the shipped configs, sorted."""
    folder = configs_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{_SUFFIX}"))


def find_config(name: str) -> Path:
    """Return the path of a config: that of a file, or of a shipped config by its name.

    Raises:
        UnknownNameError: If there is neither.
    """
    path = Path(name).expanduser()
    if path.exists() and not path.is_dir():
        return path
    names = list_configs()
    wanted = name.removesuffix(_SUFFIX)
    if wanted in names:
        return configs_folder() / f"{wanted}{_SUFFIX}"
    lasts = nearest(wanted.rpartition("/")[2], {other.rpartition("/")[2] for other in names})
    near = nearest(wanted, names) or [other for last in lasts for other in names if last == other.rpartition("/")[2]]
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "Give a YAML file, or a shipped config's name."
    kind = "it is a directory, not a config file" if path.is_dir() else "there is no such file or shipped config"
    raise UnknownNameError(f"{kind}.", where=name, hint=hint)
