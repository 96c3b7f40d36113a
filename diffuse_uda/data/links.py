"""Copies of folders that cost no space: hard links to files that are only ever replaced whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path


def link_tree(source: Path, target: Path, *, without: Collection[str] = ()) -> None:
    """Give every file below `source` a second name below `target`; folders are made.

    Whoever replaces a file in one tree (`replaced_atomically`) leaves the other as it was; whoever writes into a file
    changes both, so this is not for files that grow.

    Args:
        source: An existing folder.
        target: Must not hold a file of the same name yet; on another file system everything is copied.
        without: Names of files and folders that are left out, wherever they are.

    Raises:
        OSError: If the folder cannot be read or the copy not be written.
    """
    left_out = shutil.ignore_patterns(*without)
    shutil.copytree(source, target, copy_function=link_file, dirs_exist_ok=True, ignore=left_out)


def link_file(source: str | Path, target: str | Path) -> None:
    """Give one file a second name, or copy it where that cannot be; `target` must not exist.

    Raises:
        FileExistsError: If it does.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
