"""A folder that is handed over: whole and checked, or not there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffuse_uda.data.atomic import flush_to_disk, make_folder
from diffuse_uda.errors import ConfigError


@contextmanager
def released_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to; when the block ends well, it becomes `folder`, otherwise it is deleted.

    Args:
        folder: Must not exist, or be empty: what was handed over before is never mixed with what is handed over now.

    Raises:
        ConfigError: If there is something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already; wanted a new folder, or an empty one. Choose another, or move that one away"
        raise ConfigError(msg)
    make_folder(folder.parent)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".part-{folder.name}-"))
    try:
        yield draft
        draft.chmod(0o755)
        for path in draft.rglob("*"):
            if path.is_file():
                flush_to_disk(path)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
        flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
