"""The coordinator's journal: what was planned, what came, what is committed; on the disk before anything follows.

One JSON object a line, in the form of the audit logs: every line holds the hash of the one before. A run that was
killed goes on from here. Every line is on the disk before the next one is written, so a crash can only spoil the last
one: that line is cut off. A line that is spoilt anywhere else was spoilt by somebody, and nothing goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import flush_to_disk
from diffuse_uda.data.storage import written_patiently
from diffuse_uda.errors import CheckpointError
from diffuse_uda.exchange.audit import GENESIS, hash_of, line_of, now, parsed

JOURNAL_FILE = "journal.jsonl"
PATIENCE_S = 600.0
"""Seconds that a coordinator waits for a disk that is full or ill; the sites do not notice."""

Entry = dict[str, Any]


class Happening(StrEnum):
    """What an entry is about (`event`)."""

    STARTED = "started"
    """A new run: its name, study, sites."""
    PLANNED = "planned"
    """A round is about to go out: to whom, which task, the hash of the weights each of them gets."""
    REPLIED = "replied"
    """One asked site is done with a round: its state, and the hash of what it sent."""
    COMMITTED = "committed"
    """A round is over and everything it changed is on the disk: hashes of the checkpoint, record of the round."""
    RESUMED = "resumed"
    """The run goes on after a committed round; later ones do not count any more."""
    STOPPED = "stopped"
    """Somebody asked for the end, and the round at work was finished first."""
    FINISHED = "finished"
    """All rounds are done and the results are written."""


class Journal:
    """The journal of one run folder, open for more."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], datetime] = now,
        sleep: Callable[[float], None] = time.sleep,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Go on with the journal at `path`, or begin one.

        Args:
            path: The file.
            clock: Tells the time, with its zone.
            sleep: Waits for a disk that is full or ill; in seconds.
            patience_s: Seconds to wait for it, for every entry.

        Raises:
            CheckpointError: As `read_journal`.
        """
        entries, self._size_bytes = read_journal(path)
        self._path, self._clock, self._sleep, self._patience_s = path, clock, sleep, patience_s
        self._num_entries = len(entries)
        self._head = str(entries[-1]["hash"]) if entries else GENESIS

    def append(self, event: Happening, facts: Mapping[str, Any]) -> None:
        """Write an entry and wait until it is on the disk.

        Raises:
            StorageError: If the disk does not take it in time; the journal is as it was.
        """
        entry = {
            **facts,
            "n": self._num_entries + 1,
            "time": self._clock().isoformat(timespec="milliseconds"),
            "side": "server",
            "event": event.value,
            "prev": self._head,
        }
        entry["hash"] = hash_of(entry)
        line = line_of(entry)
        written_patiently(
            lambda: self._write(line),
            self._path,
            needed_bytes=len(line),
            patience_s=self._patience_s,
            sleep=self._sleep,
        )
        self._num_entries, self._size_bytes, self._head = entry["n"], self._size_bytes + len(line), entry["hash"]

    def _write(self, line: bytes) -> None:
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, self._size_bytes)  # what a crash or an attempt before this one has left
            written = 0
            while written < len(line):
                written += os.pwrite(descriptor, line[written:], self._size_bytes + written)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            flush_to_disk(self._path.parent)


def read_journal(path: Path) -> tuple[list[Entry], int]:
    """Read and check a journal.

    Returns:
        Its entries, and the bytes they take; what a crash left behind them does not count.

    Raises:
        CheckpointError: If anything but the last line is damaged; the line is named.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    entries: list[Entry] = []
    head, size_bytes = GENESIS, 0
    for number, line in enumerate(lines, start=1):
        entry = parsed(line)
        if entry is None or (entry.get("n"), entry.get("prev"), entry.get("hash")) != (number, head, hash_of(entry)):
            if number == len(lines):
                break  # the crash came while it was written
            msg = (
                f"{path}, line {number} of {len(lines)}: found a line that is damaged or does not follow from the one "
                "before; wanted an unbroken chain of hashes. Restore the run folder from a copy, or begin anew in "
                "another one"
            )
            raise CheckpointError(msg)
        entries.append(entry)
        head, size_bytes = str(entry["hash"]), size_bytes + len(line)
    return entries, size_bytes
