"""Programs that are kept running: started in order, started again when they end, ended in reverse order, no orphans."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

logger = logging.getLogger(__name__)

_LOOK_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Something to keep running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    """Working folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """When to give up, and how long to wait."""

    restart_delay_s: float = 5.0
    """Before a program that ended is started again."""
    most_restarts: int = 5
    """So many in `window_s`, of all programs together, and everything ends."""
    window_s: float = 300.0
    grace_s: float = 15.0
    """Between asking a program to end and killing it."""


class Stop:
    """Wishes to end: the first asks, the second does not wait."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.asked = threading.Event()
        self.at_once = threading.Event()

    def ask(self) -> None:
        """Ask to end; asking again ends at once."""
        (self.at_once if self.asked.is_set() else self.asked).set()


@contextmanager
def ended_by_signals(stop: Stop) -> Iterator[None]:
    """Let SIGTERM, SIGHUP and Ctrl-C ask; the way it was before comes back at the end. In the main thread only."""

    def ask(number: int, _frame: FrameType | None) -> None:
        logger.warning("%s: ending%s", signal.Signals(number).name, " at once" if stop.asked.is_set() else "")
        stop.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_running(
    programs: Sequence[Program],
    stop: Stop,
    *,
    patience: Patience,
    explain: Callable[[str, int], str],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Keep programs running until somebody asks to end.

    Args:
        programs: In the order of their start.
        stop: Watched all the time.
        patience: How often and how long.
        explain: What to tell an administrator about a program (its name) that ended by itself (its exit code).
        clock: Seconds that never run backwards.

    Returns:
        True if somebody asked to end, False if a program ended too often.
    """
    with _running(programs, stop, patience.grace_s) as running:
        ends: list[float] = []
        due: dict[str, float] = {}
        while not stop.asked.wait(_LOOK_S):
            for program in programs:
                process = running.get(program.name)
                if process is not None and (code := process.poll()) is not None:
                    del running[program.name]
                    logger.error(
                        "%s ended by itself (exit code %d). %s", program.name, code, explain(program.name, code)
                    )
                    ends = [moment for moment in ends if clock() - moment < patience.window_s] + [clock()]
                    if len(ends) > patience.most_restarts:
                        logger.error("%d ends within %.0f s: giving up", len(ends), patience.window_s)
                        return False
                    due[program.name] = clock() + patience.restart_delay_s
                    logger.warning("%s starts again in %.0f s", program.name, patience.restart_delay_s)
                elif process is None and clock() >= due[program.name]:
                    running[program.name] = _start(program)
        return True


@contextmanager
def _running(programs: Sequence[Program], stop: Stop, grace_s: float) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for program in programs:
            running[program.name] = _start(program)
        yield running
    finally:
        for program in reversed(programs):
            if (process := running.get(program.name)) is not None:
                _end(program.name, process, stop, grace_s)


def _start(program: Program) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C on the terminal reaches this process alone, which ends the others in order, and all
    # that a program starts can be ended with it.
    process = subprocess.Popen(  # noqa: S603 - the command is this project's own
        program.command, env=dict(program.environment), cwd=program.folder, start_new_session=True
    )
    logger.info("%s runs as process %d", program.name, process.pid)
    return process


def _end(name: str, process: subprocess.Popen[bytes], stop: Stop, grace_s: float) -> None:
    process.terminate()
    until = time.monotonic() + grace_s
    while process.poll() is None and time.monotonic() < until and not stop.at_once.is_set():
        time.sleep(_LOOK_S / 4)
    if process.poll() is None:
        logger.warning("%s did not end by itself: killed", name)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it started and left behind, and itself if it is still there
    process.wait()
