"""One run at a time in a folder: whoever comes second is told who works there.

The operating system holds the lock and lets go of it when the process ends, however it ends, so no lock is ever stale
in earnest and two who find an abandoned one cannot both take it. What the file says is for people: who has it, or who
had it and did not give it back.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from diffuse_uda.data.atomic import make_folder
from diffuse_uda.errors import InUseError, StorageError

logger = logging.getLogger(__name__)

LOCK_FILE = "run.lock"
_LOOK_AGAIN_S = 0.1
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})

_mine: dict[Path, tuple[int, int]] = {}
"""Folders that a thread of this process holds, and which process (a fork has a copy of this) and thread that is."""


@contextmanager
def run_lock(
    folder: Path,
    *,
    patience_s: float = 0.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a folder while the block runs. A thread that holds it already may hold it again.

    Args:
        folder: Made if missing.
        patience_s: Seconds to wait for somebody who is just ending.
        now: For what the lock says about its holder.
        clock: Monotonic, in seconds.
        sleep: In seconds.

    Raises:
        InUseError: If another process, or another run of this one, works in the folder; it is named.
        StorageError: If the folder lies on a file system that has no locks.
    """
    key, me = folder.resolve(), (os.getpid(), threading.get_ident())
    if _mine.get(key) == me:
        yield
        return
    make_folder(folder)
    deadline = clock() + patience_s
    while (descriptor := _taken(folder)) is None:
        if clock() >= deadline:
            msg = (
                f"{folder} is in use by {_told(folder / LOCK_FILE) or 'another run'}. One run at a time works in a "
                "folder: wait until it has ended, end it, or choose another folder"
            )
            raise InUseError(msg)
        sleep(_LOOK_AGAIN_S)
    try:
        if left := _told(folder / LOCK_FILE):
            logger.warning("%s was left by %s, which did not end properly; its lock is taken over", folder, left)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now().isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        _mine[key] = me
        yield
    finally:
        _mine.pop(key, None)
        os.ftruncate(descriptor, 0)  # given back in order
        os.close(descriptor)


def is_held_elsewhere(folder: Path) -> bool:
    """Whether another process or thread holds a folder; looking changes nothing in it."""
    if _mine.get(folder.resolve()) == (os.getpid(), threading.get_ident()):
        return False
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    finally:
        os.close(descriptor)
    return False


def _taken(folder: Path) -> int | None:
    """Descriptor of the lock file if nobody has it; None if somebody has."""
    path = folder / LOCK_FILE
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            msg = f"{folder} lies on a file system without locks ({error.strerror}); choose a folder on a local disk"
            raise StorageError(msg) from error
        os.close(descriptor)  # the file was deleted between opening and locking it: that lock keeps nobody out


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _told(path: Path) -> str:
    """What a lock file says about its holder; empty if it says nothing."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
