"""How a run ended: one named end in `end.json`, whatever happened, and the exit code it means."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.run_lock import is_held_elsewhere
from diffuse_uda.errors import DiffuseUdaError, QuorumError, StorageError

logger = logging.getLogger(__name__)

END_FILE = "end.json"


class RunEnd(StrEnum):
    """Where a run stands. All but `RUNNING` are ends; after all but `COMPLETED` the same command goes on."""

    RUNNING = "running"
    COMPLETED = "completed"
    """Every round is done."""
    FAILED = "failed"
    """Something broke at the server: a full disk, memory, a defect."""
    REFUSED = "refused"
    """The study, the federation or the folder cannot be worked with as they are."""
    DESERTED = "deserted"
    """Too few sites came, or replied usably."""
    STOPPED = "stopped"
    """Somebody asked for it."""
    KILLED = "killed"
    """The process ended without a word: nobody holds the run's lock, and no end was written."""


EXIT_CODES = {
    RunEnd.COMPLETED: 0,
    RunEnd.FAILED: 1,
    RunEnd.REFUSED: 2,
    RunEnd.DESERTED: 3,
    RunEnd.RUNNING: 4,
    RunEnd.STOPPED: 130,
    RunEnd.KILLED: 137,
}
"""Exit code of a command that shows how a run stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What `end.json` says."""

    end: RunEnd
    reason: str = ""
    at: str = ""
    """Date and time, with zone."""

    @property
    def exit_code(self) -> int:
        """Exit code of a command that shows it."""
        return EXIT_CODES[self.end]


@contextmanager
def recorded_end(run_dir: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Iterator[Ending | None]:
    """Write down how the block ends, whatever ends it; the run's lock is held by the caller.

    Yields:
        How the run before in this folder stood, if there was one.
    """
    before = read_ending(run_dir)
    _write(run_dir, Ending(end=RunEnd.RUNNING, at=now().isoformat(timespec="seconds")))
    try:
        yield before
    except BaseException as error:
        _write(run_dir, Ending(end=end_of(error), reason=_said(error), at=now().isoformat(timespec="seconds")))
        raise
    _write(run_dir, Ending(end=RunEnd.COMPLETED, at=now().isoformat(timespec="seconds")))


def end_of(error: BaseException) -> RunEnd:
    """What kind of end an error is."""
    if isinstance(error, QuorumError):
        return RunEnd.DESERTED
    if isinstance(error, DiffuseUdaError) and not isinstance(error, StorageError):
        return RunEnd.REFUSED
    return RunEnd.STOPPED if isinstance(error, KeyboardInterrupt | SystemExit) else RunEnd.FAILED


def read_ending(run_dir: Path) -> Ending | None:
    """How the run in a folder stands; None if there has been none, or its file cannot be read."""
    try:
        facts = json.loads((run_dir / END_FILE).read_text(encoding="utf-8"))
        ending = Ending(end=RunEnd(facts["end"]), reason=str(facts["reason"]), at=str(facts["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if ending.end is RunEnd.RUNNING and not is_held_elsewhere(run_dir):
        reason = "its process ended without a word; the same command goes on after the last round on the disk"
        return Ending(end=RunEnd.KILLED, reason=reason, at=ending.at)
    return ending


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, DiffuseUdaError) else f"{type(error).__name__}: {error}".rstrip(": ")


def _write(run_dir: Path, ending: Ending) -> None:
    """A disk that takes nothing any more must not hide why the run ended."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(run_dir / END_FILE) as draft:
            facts = {"end": ending.end.value, "reason": ending.reason, "at": ending.at}
            draft.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    except OSError as error:
        logger.warning("%s cannot be written: %s; the run: %s %s", END_FILE, error, ending.end.value, ending.reason)
