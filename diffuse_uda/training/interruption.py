"""Ways to end: at once, between two steps of local work, or when the round at work is over."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from diffuse_uda.training.pulse import show_progress

logger = logging.getLogger(__name__)

_STOPPED = threading.Event()


def stop_local_work() -> None:
    """Ask every loop of this process to end at its next step."""
    _STOPPED.set()


def allow_local_work() -> None:
    """Take `stop_local_work` back, before a new run in the same process."""
    _STOPPED.clear()


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt once a stop was asked for; every call is a sign of progress as well."""
    show_progress()
    if _STOPPED.is_set():
        raise KeyboardInterrupt


@contextmanager
def first_signal_waits() -> Iterator[Callable[[], bool]]:
    """Let the first SIGINT or SIGTERM wait for the round at work; the second one raises KeyboardInterrupt at once.

    Only the main thread hears signals; in any other one nothing changes.

    Yields:
        Tells whether the first one has come.
    """
    asked = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        logger.warning("stopping when this round is on the disk; once more stops now, and this round is done again")

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
