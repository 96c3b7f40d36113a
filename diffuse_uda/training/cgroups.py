"""What a container or a service unit may still allocate: the kernel shows the whole machine's memory all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def cgroup_free_bytes(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that this process' control groups still allow; the strictest of its group and all above it.

    Args:
        root: Where the control groups are mounted (version 1, 2, or both).
        membership: The kernel's list of this process' groups.

    Returns:
        Limit minus what is used and cannot be given up; None where no group has a limit.
    """
    rooms = [room for folder, names in _groups(root, membership) if (room := _room(folder, names)) is not None]
    return max(min(rooms), 0) if rooms else None


def _groups(root: Path, membership: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            top, names = root / "memory", _V1
        elif number == "0":
            top, names = root, _V2
        else:
            continue
        # Inside a container the path is often the host's, and only its top is mounted: folders that are missing
        # have no limit, and every level above this process counts as well.
        inner = PurePosixPath(path.lstrip("/"))
        for level in (inner, *inner.parents):
            yield top / level, names


def _room(folder: Path, names: tuple[str, str, str]) -> int | None:
    limit_file, usage_file, reclaimable = names
    try:
        limit = (folder / limit_file).read_text(encoding="ascii").strip()
        if limit == "max":
            return None
        used = int((folder / usage_file).read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        statistics = dict(line.split(" ", 1) for line in lines)
        return int(limit) - used + int(statistics.get(reclaimable, "0"))
    except (OSError, ValueError):
        return None
