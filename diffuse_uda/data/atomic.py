"""Files that are either the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_atomically(path: Path, *, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it becomes `path`.

    The data reach the disk before the name does (fsync, then rename, then fsync of the folder), so a crash leaves
    either the old file or the new one, never half of it. When the block raises, `path` stays as it was.

    Args:
        path: Final place. Its folder must exist.
        mode: Permission bits of the result: 0o600 for what only this site's account may read.

    Yields:
        An existing, empty file in the same folder, hence on the same file system.
    """
    # The temporary name keeps the ending: writers such as nibabel choose the format by it.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.name)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        part.chmod(mode)
        flush_to_disk(part)
        part.replace(path)
        flush_to_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that they survive a loss of power."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        flush_to_disk(folder.parent)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
