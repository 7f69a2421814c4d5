"""What a report of a fault says of versions and machine; nothing in it fails, what cannot be told is left out."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "optuna",
    "tensorboard",
    "pydantic",
    "typer",
    "rich",
    "safetensors",
    "ray",
)
"""Whose versions are told, where they are installed, beside those of the extras."""

VARIABLES = (
    "CI",
    "COLUMNS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "GRNG_DEBUG",
    "KMP_AFFINITY",
    "LANG",
    "LC_ALL",
    "LOCAL_RANK",
    "MKL_NUM_THREADS",
    "NO_COLOR",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTHONUTF8",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "RANK",
    "SLURM_CPUS_PER_TASK",
    "SLURM_NTASKS",
    "TERM",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TZ",
    "WORLD_SIZE",
)
"""Variables of the environment that change what grng does and hold no secret; of no other one is the value told."""

_NAMES_ALONE = ("CUDA", "GRNG", "KMP", "MKL", "NCCL", "OMP", "PYTORCH", "TORCH", "XDG_CACHE", "HF_HOME", "TIMM")
"""What begins like this is named without its value: a path or an address may say more than one would publish."""

_NO_LIMIT = 1 << 60

System = dict[str, dict[str, Any]]
"""Facts by section and name; plain values, lists of them, or None where something is not there."""


def describe_system(directory: Path | None = None) -> System:
    """Return versions, processor, memory, GPUs, threads, environment and free disk.

    Args:
        directory: Whose disk is told; default: the present one.
    """
    sections: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = {
        "versions": _versions,
        "extras": _extras,
        "system": _operating_system,
        "processor": _processor,
        "gpus": _gpus,
        "threads": _threads,
        "environment": lambda: _environment(os.environ),
        "disk": lambda: _disk(directory or Path.cwd()),
    }
    return {name: _told(facts) for name, facts in sections.items()}


def _told(facts: Callable[[], Iterator[tuple[str, Any]]]) -> dict[str, Any]:
    """Return the facts of a section; when one of them cannot be had, those before it and why."""
    told: dict[str, Any] = {}
    try:
        for name, value in facts():
            told[name] = value
    except Exception as error:  # a broken installation is what a report may be about
        told["failed"] = f"{type(error).__name__}: {error}"
    return told


def _versions() -> Iterator[tuple[str, Any]]:
    from grng._version import __version__
    from grng.training.own_code import OWN_CODE

    yield "grng", __version__
    yield "code of grng", OWN_CODE
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    for package in PACKAGES:
        found = _version(package)
        if found is not None:
            yield package, found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extras() -> Iterator[tuple[str, Any]]:
    """Yield each extra of grng and its packages' versions; None for one that is not installed."""
    packages: dict[str, dict[str, str | None]] = {}
    for text in requires("grng") or ():
        requirement, _, marker = text.partition(";")
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)""", marker)
        name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
        if extra and name and name[0] != "grng" and extra[1] not in ("dev", "test"):
            packages.setdefault(extra[1], {})[name[0]] = _version(name[0])
    for extra_name, found in packages.items():
        yield extra_name, [f"{name} {number or 'is not installed'}" for name, number in found.items()]


def _operating_system() -> Iterator[tuple[str, Any]]:
    yield "platform", platform.platform()
    yield "libc", " ".join(platform.libc_ver()).strip() or None
    yield "in a virtual environment", sys.prefix != sys.base_prefix
    yield "encoding", sys.stdout.encoding if sys.stdout else None


def _processor() -> Iterator[tuple[str, Any]]:
    import psutil

    yield "name", _processor_name()
    yield "architecture", platform.machine()
    yield "cores", psutil.cpu_count(logical=False)
    yield "hardware threads", psutil.cpu_count()
    affinity = getattr(os, "sched_getaffinity", None)
    yield "usable by this process", len(affinity(0)) if affinity else None
    memory = psutil.virtual_memory()
    yield "memory", _gigabytes(memory.total)
    yield "memory of this container", _container_memory()
    yield "memory available", _gigabytes(memory.available)


def _processor_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _container_memory() -> str | None:
    """Return the limit of the control group, which a container has; None without one."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int(Path(path).read_text(encoding="ascii"))
            return _gigabytes(limit) if limit < _NO_LIMIT else None
    return None


def _gpus() -> Iterator[tuple[str, Any]]:
    import torch

    yield "CUDA of torch", torch.version.cuda
    yield "cuDNN", torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    yield "driver", _driver()
    yield "MPS", torch.backends.mps.is_available()
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        yield f"cuda:{index}", f"{properties.name}, {_gigabytes(properties.total_memory)}, capability {capability}"


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, as its kernel module or its own program tells."""
    path = Path("/proc/driver/nvidia/version")
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[0].removeprefix("NVRM version: ").strip()
    return None


def _threads() -> Iterator[tuple[str, Any]]:
    import torch

    yield "torch", torch.get_num_threads()
    yield "between operations", torch.get_num_interop_threads()
    yield "MKL", torch.backends.mkl.is_available()
    yield "oneDNN", torch.backends.mkldnn.is_available()
    yield "OpenMP", torch.backends.openmp.is_available()
    yield "instruction set", torch.backends.cpu.get_cpu_capability()
    blas = [line.strip(" -") for line in torch.__config__.show().splitlines() if "BLAS" in line or "MKL" in line]
    yield "BLAS", [line for line in blas if "Build settings" not in line]
    yield "deterministic algorithms", torch.are_deterministic_algorithms_enabled()


def _environment(variables: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name in sorted(variables):
        if name in VARIABLES:
            yield name, variables[name]
        elif name.startswith(_NAMES_ALONE):
            yield name, "set (its value is not told)"


def _disk(directory: Path) -> Iterator[tuple[str, Any]]:
    usage = shutil.disk_usage(directory)
    yield "free", _gigabytes(usage.free)
    yield "size", _gigabytes(usage.total)
    yield "writable", os.access(directory, os.W_OK)
    yield "free for temporary files", _gigabytes(shutil.disk_usage(tempfile.gettempdir()).free)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
