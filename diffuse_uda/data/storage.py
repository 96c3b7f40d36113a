"""When a disk does not take what it is given: one clear line, patience, and a clear end."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffuse_uda.errors import StorageError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0

STORAGE_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no room: on the disk, of inodes, of a quota, for a file
        *(errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE),  # the disk is ill, or not ours to write on
    }
)
"""What an operator can put right while a run waits; any other error is a mistake in a program."""

_Result = TypeVar("_Result")


def describe_storage_error(error: OSError, path: Path, *, needed_bytes: int | None = None) -> str:
    """Say what could not be written, why, and how much room there is.

    Args:
        error: What the system said.
        path: File or folder that was to be written.
        needed_bytes: Size of what was to be written, if that is known.
    """
    place = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path.cwd())
    try:
        free = f"{shutil.disk_usage(place).free / 1e6:.1f} MB free"
    except OSError:
        free = "free space unknown"
    needed = "" if needed_bytes is None else f", {needed_bytes / 1e6:.1f} MB needed"
    return f"cannot write {path}: {error.strerror or type(error).__name__}; {free} in {place}{needed}"


def written_patiently(
    write: Callable[[], _Result],
    path: Path,
    *,
    patience_s: float,
    needed_bytes: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Write; if the disk refuses, say so once, wait and write anew, until it works or patience is over.

    Everything is written again from the beginning: after a failed fsync the system may have dropped what it held, and
    a second fsync of the same file would report success all the same.

    Args:
        write: Writes the whole thing, to a new file that gets its name last; called again after a failure.
        path: What is written, for the message.
        patience_s: Seconds to go on trying; pauses grow from 1 s to 60 s.
        needed_bytes: Size of what is written, for the message.
        clock: Monotonic, in seconds.
        sleep: In seconds.

    Raises:
        StorageError: If the disk still refuses when patience is over.
        OSError: At once, for what is not the disk's fault.
    """
    began, pause = clock(), FIRST_PAUSE_S
    failed = False
    while True:
        try:
            result = write()
        except OSError as error:
            if error.errno not in STORAGE_ERRORS:
                raise
            what = describe_storage_error(error, path, needed_bytes=needed_bytes)
            left = patience_s - (clock() - began)
            if left <= 0.0:
                msg = (
                    f"{what}; gave up after {patience_s:g} s. What was committed before is whole: make room, run again"
                )
                raise StorageError(msg) from error
            if not failed:
                logger.error("%s; waiting, and trying again for %g s", what, patience_s)  # noqa: TRY400 - one clear line
            failed = True
            sleep(min(pause, left))
            pause = min(2.0 * pause, LONGEST_PAUSE_S)
        else:
            if failed:
                logger.warning("%s is written; going on", path)
            return result
