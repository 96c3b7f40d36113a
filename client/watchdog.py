"""Work that stands still is given up by the site itself: its server sees that the node is online, and no more.

The work has a thread of its own. Every loop shows progress between two steps (`raise_if_stopped` does); after too long
a silence the waiting thread answers for it. In a hospital Flower starts a process for every message, and the thread
that hangs ends with it. What cannot be seen: how far the work is, and a loop that goes on for ever while it beats. For
that there is `federation.round-timeout-s`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from diffuse_uda.errors import StandstillError
from diffuse_uda.training.pulse import Pulse, watch_with

LOOK_S = 1.0
"""Longest time between two looks at the pulse, in seconds; the end of the work is noticed at once."""

_Result = TypeVar("_Result")


def watched(
    work: Callable[[], _Result],
    *,
    silence_limit_s: float,
    pulse: Pulse | None = None,
    wait: Callable[[threading.Event, float], object] = threading.Event.wait,
) -> _Result:
    """Do some work and give it up when it shows no progress.

    Args:
        work: What to do.
        silence_limit_s: Longest time without a sign of progress, in seconds.
        pulse: Where the signs are written; a new one when absent.
        wait: Waits for an event, for a time in seconds at most.

    Returns:
        What the work returns.

    Raises:
        StandstillError: If it stood still for too long.
        BaseException: Whatever the work raises.
    """
    pulse = Pulse() if pulse is None else pulse
    done, results, errors = threading.Event(), list[_Result](), list[BaseException]()

    def run() -> None:
        watch_with(pulse)
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again where somebody waits for it
            errors.append(error)
        finally:
            done.set()

    # A daemon: a process must be able to end although its work hangs.
    threading.Thread(target=run, name=f"{threading.current_thread().name}-work", daemon=True).start()
    while not done.is_set():
        if pulse.silence_s >= silence_limit_s:
            pulse.give_up()
            msg = f"no progress for {silence_limit_s:g} s; the work was given up"
            raise StandstillError(msg)
        wait(done, min(LOOK_S, max(silence_limit_s - pulse.silence_s, 0.0)))
    if errors:
        raise errors[0]
    return results[0]
