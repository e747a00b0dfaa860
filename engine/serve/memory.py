"""Whether this machine has room for the bundles that a service is to open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fgdm.contexts import is_compiled
from fgdm.errors import OutOfMemoryError
from fgdm.file_tree import is_archive, open_tree

_CGROUP = Path("/sys/fs/cgroup")


def check_memory(bundles: Sequence[Path], available: int | None = None) -> None:
    """Raises OutOfMemoryError where the bundles' weights alone are more than there is memory for.

    available: bytes; None asks the system. A lower bound: runtimes keep a second, rearranged copy
    of many weights, and every batch takes memory besides.
    """
    needs = [_weights(bundle) for bundle in bundles]
    free = _available() if available is None else available
    if free is None or sum(needs) <= free:
        return
    each = ", ".join(
        f"{bundle} {_in_gigabytes(size)}" for bundle, size in zip(bundles, needs, strict=True)
    )
    raise OutOfMemoryError(
        f"the bundles' weights alone take {_in_gigabytes(sum(needs))} ({each}), and "
        f"{_in_gigabytes(free)} of memory are free; serve fewer bundles, each on a machine of "
        "its own, or on a processor with --memory low"
    )


def _weights(bundle: Path) -> int:
    """Bytes of a bundle without its plans and compiled contexts, which stand in for graphs of it;
    of what isn't there, the engine will tell."""
    files = open_tree(bundle)
    own = [name for name in files.names() if not is_compiled(name)]
    if is_archive(bundle):
        return sum(files.size(name) for name in own)
    stats = [(bundle / name).stat() for name in own]  # links may lead to one file twice
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values())


def _available() -> int | None:
    """Bytes that this process may still take: of the system, or of its control group."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def _in_gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
