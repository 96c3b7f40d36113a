"""An append-only log of what was received, what left and what was refused; every line holds the hash of the one before.

One JSON object a line. `hash` is the SHA-256 of the rest of the line, `prev` the `hash` of the line before, so a line
that is changed, removed, inserted or moved breaks the chain there. A file beside it, the head, holds how many lines
there are and the last hash: a log that lost its end no longer fits its head. The line is on the disk before the head
is, and the head before a message leaves. Whoever rewrites both consistently is found out by the other side's log.

No names of patients, files or folders: entries hold what the exchange policy lets out, and hashes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.errors import AuditError

GENESIS = "0" * 64
"""`prev` of the first line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Where a log ends."""

    entries: int
    size_bytes: int
    hash: str


EMPTY = Head(entries=0, size_bytes=0, hash=GENESIS)


def head_path(log: Path) -> Path:
    """The file beside a log that says where it ends."""
    return log.with_name(f"{log.name}.head")


def line_of(entry: Mapping[str, Any]) -> bytes:
    """An entry as a line: sorted keys, no spaces, ASCII, so that equal entries are equal bytes."""
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"{text}\n".encode("ascii")


def hash_of(entry: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of an entry without its own hash."""
    return hashlib.sha256(line_of({key: value for key, value in entry.items() if key != "hash"})).hexdigest()


def now() -> datetime:
    """The time of a new entry."""
    return datetime.now(UTC)


class Log(Protocol):
    """Where entries go."""

    def append(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write an entry."""


class AuditLog:
    """One side's log; several processes may write to it, one after the other."""

    def __init__(self, path: Path, *, side: str, clock: Callable[[], datetime] = now) -> None:
        """Use (and make) a log.

        Args:
            path: The file; its folder is made if missing.
            side: `site` or `server`: who writes here.
            clock: Tells the time, with its zone.
        """
        self._path = path
        self._side = side
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # else nobody has written here yet, and looking must not make a log
            with self._locked():
                for draft in path.parent.glob(f".part-*{head_path(path).name}"):  # of a process that was killed
                    draft.unlink()

    def append(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write an entry and wait until it is on the disk.

        Args:
            event: What happened, such as `reply-sent`.
            facts: Values that JSON knows; none of the keys `n`, `time`, `side`, `event`, `prev`, `hash`.

        Raises:
            AuditError: If the log no longer fits its head: somebody has cut or replaced it.
            OSError: If the disk is full or not writable.
        """
        with self._locked() as file:
            head = self._head(file)
            entry = {
                **facts,
                "n": head.entries + 1,
                "time": self._clock().isoformat(timespec="milliseconds"),
                "side": self._side,
                "event": event,
                "prev": head.hash,
            }
            entry["hash"] = hash_of(entry)
            line = line_of(entry)
            file.seek(head.size_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            self._write_head(Head(entries=head.entries + 1, size_bytes=head.size_bytes + len(line), hash=entry["hash"]))

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self._path.open("a+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            with self._path.open("r+b") as file:
                yield file

    def _head(self, file: BinaryIO) -> Head:
        """Where to go on; what a crash left behind the head is cut off: nothing has left the house on its account."""
        head = read_head(self._path)
        size = os.fstat(file.fileno()).st_size
        if size < head.size_bytes:
            msg = (
                f"audit log {self._path}: {size} bytes, its head says {head.size_bytes}; nothing leaves before someone "
                "has found out who cut it. Then move the log and its head away together, and keep both"
            )
            raise AuditError(msg)
        file.truncate(head.size_bytes)
        return head

    def _write_head(self, head: Head) -> None:
        with replaced_atomically(head_path(self._path)) as draft:
            draft.write_bytes(line_of({"entries": head.entries, "size_bytes": head.size_bytes, "hash": head.hash}))


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line as an entry; None if it is none, or not written the way entries are."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and _rewritten(entry) == line else None


def _rewritten(entry: Mapping[str, Any]) -> bytes:
    try:
        return line_of(entry)
    except ValueError:  # a number that is none
        return b""


def read_head(log: Path) -> Head:
    """Where a log ends, as its head says; the beginning if neither log nor head has anything.

    Raises:
        AuditError: If there are lines but no usable head.
    """
    try:
        said = json.loads(head_path(log).read_bytes())
        return Head(entries=int(said["entries"]), size_bytes=int(said["size_bytes"]), hash=str(said["hash"]))
    except FileNotFoundError:
        # The very first line may be there without a head, after a crash between the two.
        if not log.exists() or log.read_bytes().count(b"\n") <= 1:
            return EMPTY
        msg = f"audit log {log} has lines, but its head {head_path(log)} is missing; find out who removed it"
        raise AuditError(msg) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"audit log {log}: its head {head_path(log)} cannot be read ({type(error).__name__})"
        raise AuditError(msg) from error
