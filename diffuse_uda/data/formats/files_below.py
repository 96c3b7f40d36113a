"""Every file below a folder, in one order on every machine; nothing outside the folder is ever opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.errors import InputError


def files_below(root: Path) -> Iterator[Path]:
    """Walk a folder in the order of names; hidden files and folders are nobody's scans.

    Links to folders are not followed. Links to files are, if they stay inside.

    Args:
        root: An existing folder.

    Raises:
        InputError: If a link leads out of the folder, or a folder cannot be listed.
    """
    for folder, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.is_symlink():
                try:
                    require_inside(path, root)
                except BrokenRuleError as rule:
                    raise InputError([rule.at(centre=root.name, file=str(path))]) from rule
            yield path


def require_inside(path: Path, root: Path) -> None:
    """Refuse a file that is, by a link, somewhere else.

    Raises:
        BrokenRuleError: If it does not lie below `root`.
    """
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise BrokenRuleError(
            "link-leads-nowhere",
            found=f"a link that ends in a loop ({error})",
            wanted="a file",
            fix="replace the link by the file itself",
        ) from error
    if not target.is_relative_to(root.resolve()):
        raise BrokenRuleError(
            "link-leaves-folder",
            found=f"a link to {target}",
            wanted="files inside the data set's folder",
            fix="copy the file into the folder",
        )


def _refuse(error: OSError) -> None:
    rule = BrokenRuleError(
        "unreadable-file",
        found=error.strerror or str(error),
        wanted="folders that this account may list",
        fix="check the folder's permissions",
    )
    raise InputError([rule.at(centre="-", file=str(error.filename))]) from error
