"""Which code may run here: SHA-256 sums of app bundles in a file of the hospital's, read anew for every run."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from diffuse_uda.errors import ConfigError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_approved(path: Path) -> dict[str, str]:
    """Read the list: a SHA-256 a line, in lower case, and after a `#` why; `#` alone begins a comment.

    Returns:
        Notes by sum.

    Raises:
        ConfigError: If the file is missing, others may write to it or to its folder, or a line means nothing.
    """
    for place in (path, path.resolve().parent):
        _require_ours(place)
    approved: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        sha256, _, note = line.partition("#")
        if _SHA256.fullmatch(sha256.strip()):
            approved[sha256.strip()] = note.strip()
        elif sha256.strip():
            msg = (
                f"{path}, line {number}: found {sha256.strip()[:80]!r}; wanted 64 hex digits in lower case, then # why"
            )
            raise ConfigError(msg)
    return approved


def refusal(sha256: str, path: Path) -> str:
    """Say why a bundle may not run here; an empty text lets it run. A list that cannot be read approves nothing."""
    try:
        approved = read_approved(path)
    except (ConfigError, UnicodeDecodeError) as error:
        return f"the list of approved bundles cannot be used: {error}"
    if sha256 in approved:
        return ""
    return (
        f"it is not on the list {path} ({len(approved)} approved). Read the code, then let the hospital approve it: "
        f"python -m client approve CHECKOUT --add-to {path}"
    )


def approve(sha256: str, path: Path, *, note: str) -> bool:
    """Add a sum to the list; the file is made on first use.

    Args:
        sha256: 64 hex digits in lower case.
        path: The list.
        note: Why, on one line.

    Returns:
        False if it was approved already.

    Raises:
        ConfigError: As `read_approved`.
    """
    if path.exists() and sha256 in read_approved(path):
        return False
    line = f"{sha256}  # {' '.join(note.split())}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            line = f"\n{line}"
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    return True


def _require_ours(place: Path) -> None:
    try:
        status = place.stat()
    except OSError as error:
        msg = f"cannot read {place}: {error.strerror}; make it with: python -m client approve CHECKOUT --add-to FILE"
        raise ConfigError(msg) from error
    sticky = bool(status.st_mode & stat.S_ISVTX)  # nobody replaces others' files there
    if status.st_uid not in {0, os.geteuid()} or (status.st_mode & _OTHERS_MAY_WRITE and not sticky):
        found = f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
        msg = (
            f"{place} decides which code runs here: found {found}; wanted owner root or {os.geteuid()}, and nobody "
            f"else who may write; chown root {place} && chmod go-w {place}"
        )
        raise ConfigError(msg)
