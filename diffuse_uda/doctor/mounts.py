"""Which file system a folder lies on: some forget at a restart, some say 'written' before it is true."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

NETWORK_TYPES = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("smb3", "smbfs", "virtiofs"),
    }
)
"""Beside everything that begins with `fuse.`."""
PASSING_TYPES = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
"""Memory, or the layer of a container: gone with the machine's or the container's next start."""

_OCTAL = re.compile(r"\\(\d{3})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One mounted file system."""

    point: Path
    kind: str
    """The kernel's name, such as ext4."""
    options: frozenset[str]


def observe_mounts(source: Path = MOUNTINFO) -> list[Mount]:
    """Every mount of this process, oldest first; empty where the system does not tell."""
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [mount for line in lines if (mount := _parse(line)) is not None]


def mount_of(folder: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a folder lies on; None where the system does not tell."""
    resolved = folder.resolve()
    holding = [mount for mount in mounts if resolved.is_relative_to(mount.point)]
    # the deepest one; of several on one point the newest, which hides the others
    return max(enumerate(holding), key=lambda item: (len(item[1].point.parts), item[0]))[1] if holding else None


def _parse(line: str) -> Mount | None:
    """One line of mountinfo: `id parent device root POINT OPTIONS tags... - TYPE source super-options`."""
    before, separator, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")[0]
    if not separator or len(fields) < 6:
        return None
    point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])  # blanks are written as \040
    return Mount(point=Path(point), kind=kind, options=frozenset(fields[5].split(",")))
