"""Ways for a process to end that no `finally` hears of, and a disk that forgets what nobody flushed."""

from __future__ import annotations

import multiprocessing
import os
import stat
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diffuse_uda.landmarks import Landmark, watched_by

KILLED = 86
"""Exit code of a process that a landmark has ended."""


def in_child(work: Callable[[], object]) -> int:
    """Do something in a copy of this process; its exit code is 0 if that ended well, 1 if it raised.

    Nothing that starts threads or uses OpenSSL: a copy inherits locks, but not the threads that would open them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of just that
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must not go on with the tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def dying_at(landmark: Landmark, nth: int) -> Iterator[None]:
    """End this process when it passes a landmark for the `nth` time."""
    passed: Counter[Landmark] = Counter()

    def die(here: Landmark) -> None:
        passed[here] += 1
        if here is landmark and passed[here] == nth:
            os._exit(KILLED)

    with watched_by(die):
        yield


def killed_copy(landmark: Landmark, nth: int, work: Callable[[], object]) -> bool:
    """Do something in a copy of this process that dies at a landmark; see `in_child`.

    Returns:
        Whether it came that far; otherwise it ended well.
    """

    def watched() -> None:
        with dying_at(landmark, nth):
            work()

    code = in_child(watched)
    assert code in {0, KILLED}
    return code == KILLED


def killed_process(landmark: Landmark, nth: int, work: Callable[..., object], *arguments: object) -> bool:
    """Do something in a process of its own that dies at a landmark.

    It is forked from a server that has imported everything and started no thread.

    Args:
        landmark: Where it dies.
        nth: At which passing.
        work: A function of a module.
        arguments: For it; values that can be pickled.

    Returns:
        Whether it came that far; otherwise it ended well.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest", work.__module__])
    process = context.Process(target=_die_at, args=(landmark, nth, work, arguments))
    process.start()
    process.join()
    assert process.exitcode in {0, KILLED}
    return process.exitcode == KILLED


def _die_at(landmark: Landmark, nth: int, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    with dying_at(landmark, nth):
        work(*arguments)


class ForgetfulDisk:
    """What is on the disk after a loss of power: what was flushed, under names that were flushed, nothing else."""

    def __init__(self) -> None:
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._modes: dict[int, int] = {}
        self._keeping: list[int] = []

    def flushed(self, descriptor: int) -> None:
        """Remember what a descriptor's file or folder is now."""
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        inode = os.fstat(descriptor).st_ino
        # An inode that nobody holds would be used again for another file.
        self._keeping.append(os.open(path, os.O_RDONLY))
        if not path.is_dir():
            self._files[inode] = path.read_bytes()
            return
        self._folders[inode] = {}
        for entry in os.scandir(path):
            self._folders[inode][entry.name] = entry.inode()
            self._modes[entry.inode()] = entry.stat().st_mode
            self._keeping.append(os.open(entry.path, os.O_RDONLY))

    def rebuild(self, folder: Path, target: Path) -> None:
        """Write what is left of `folder` to `target`."""
        self._rebuild(folder.stat().st_ino, target)

    def _rebuild(self, inode: int, target: Path) -> None:
        target.mkdir()
        for name, child in self._folders.get(inode, {}).items():
            if stat.S_ISDIR(self._modes[child]):
                self._rebuild(child, target / name)
            else:
                (target / name).write_bytes(self._files.get(child, b""))
                (target / name).chmod(stat.S_IMODE(self._modes[child]))

    def close(self) -> None:
        """Let the inodes go."""
        for descriptor in self._keeping:
            os.close(descriptor)


@contextmanager
def forgetful_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgetfulDisk]:
    """Watch every flush of this process."""
    disk, flush = ForgetfulDisk(), os.fsync

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        disk.flushed(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield disk
    disk.close()
