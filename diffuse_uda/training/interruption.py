"""A flag that ends long local work between two steps: Ctrl-C must not wait for a round."""

from __future__ import annotations

import threading

_STOPPED = threading.Event()


def stop_local_work() -> None:
    """Ask every loop of this process to end at its next step."""
    _STOPPED.set()


def allow_local_work() -> None:
    """Take `stop_local_work` back, before a new run in the same process."""
    _STOPPED.clear()


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt once a stop was asked for."""
    if _STOPPED.is_set():
        raise KeyboardInterrupt
