"""Copies of folders that cost no space: hard links to files that are only ever replaced whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_tree(source: Path, target: Path) -> None:
    """Give every file below `source` a second name below `target`; folders are made.

    Whoever replaces a file in one tree (`replaced_atomically`) leaves the other as it was; whoever writes into a file
    changes both, so this is not for files that grow.

    Args:
        source: An existing folder.
        target: Must not hold a file of the same name yet; on another file system everything is copied.

    Raises:
        OSError: If the folder cannot be read or the copy not be written.
    """
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
