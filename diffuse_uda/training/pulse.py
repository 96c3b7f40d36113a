"""Signs of progress: loops beat between two steps, and whoever watches them knows how long ago the last beat was."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar


class Pulse:
    """Beats of one piece of work; written by the thread that works, read by one that watches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a beat; `clock` is in seconds."""
        self._clock = clock
        self._last = clock()
        self._given_up = False

    def beat(self) -> None:
        """Show progress.

        Raises:
            KeyboardInterrupt: If the work was given up meanwhile: it must not go on writing into the site's folder.
        """
        if self._given_up:
            raise KeyboardInterrupt
        self._last = self._clock()

    @property
    def silence_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._last

    def give_up(self) -> None:
        """End the work at its next beat, should there be one."""
        self._given_up = True


_CURRENT: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


def watch_with(pulse: Pulse) -> None:
    """Let the work of this thread beat for `pulse`."""
    _CURRENT.set(pulse)


def show_progress() -> None:
    """Beat, if anybody is watching this thread."""
    pulse = _CURRENT.get()
    if pulse is not None:
        pulse.beat()
