"""Whether the kernel killed processes for want of memory: SIGKILL alone does not tell who sent it, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MACHINE = Path("/proc/vmstat")


def kernel_kills() -> dict[str, int]:
    """Return how many processes the kernel has killed so far because memory ran out, by where that is counted.

    Of this process's control groups and of the whole machine; empty where the kernel does not count.
    """
    counts: dict[str, int] = {}
    for path in [*_counters(), _MACHINE]:
        with suppress(OSError, ValueError):
            for line in path.read_text(encoding="ascii", errors="replace").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    counts[str(path)] = int(value)
    return counts


def rose(before: dict[str, int], after: dict[str, int]) -> bool:
    """Return whether the kernel killed a process of ours meanwhile.

    Where our control group is counted, that count decides: the machine's holds others' processes, too.
    """
    both = before.keys() & after.keys()
    own = both - {str(_MACHINE)}
    return any(after[name] > before[name] for name in own or both)


def _counters() -> Iterator[Path]:
    """Yield the files that count for the control groups this process is in, of either version."""
    with suppress(OSError):
        for line in _OWN.read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, place = line.split(":", 2)
            if not controllers:
                yield _CGROUPS / place.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield _CGROUPS / "memory" / place.lstrip("/") / "memory.oom_control"
