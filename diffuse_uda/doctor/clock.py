"""Clocks: a node's signature holds the time, and the hub refuses one that is 300 s off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

HUB_TOLERANCE_S = 300.0
"""Flower refuses a node whose timestamp is further off."""
WARN_SKEW_S = 20.0
FAIL_SKEW_S = 60.0
"""Long before Flower refuses: a clock that nobody synchronises drifts on, and a run takes days."""
MOST_STEP_S = 1.0

SYNCHRONISE = "synchronise this machine's clock (chrony or systemd-timesyncd with the hospital's time server)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """The two clocks of a machine, as functions, so that a test can bend them."""

    wall_s: Callable[[], float] = time.time
    """Seconds since 1970, UTC."""
    monotonic_s: Callable[[], float] = time.monotonic
    """Seconds that never run backwards."""

    def read(self) -> Reading:
        """Read both."""
        return Reading(wall_s=self.wall_s(), monotonic_s=self.monotonic_s())


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Both clocks at one moment."""

    wall_s: float
    monotonic_s: float


def judge_skew(hub_s: float | None, here_s: float) -> Verdict:
    """This machine's clock against the hub's.

    Args:
        hub_s: Time in the hub's answer, seconds since 1970, whole seconds; None if it said none.
        here_s: This machine's time at the middle of the question, seconds since 1970.
    """
    wanted = f"less than {WARN_SKEW_S:.0f} s off the hub's; node authentication ends at {HUB_TOLERANCE_S:.0f} s"
    if hub_s is None:
        fix = "let the hub, or the proxy before it, send a Date header"
        return warned("clock", "the hub's answer holds no time to compare with", wanted, fix)
    skew = here_s - (hub_s + 0.5)  # the header's seconds are cut off: half a second is the best guess
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the hub's"
    if abs(skew) >= FAIL_SKEW_S:
        return failed("clock", found, wanted, SYNCHRONISE)
    if abs(skew) >= WARN_SKEW_S:
        return warned("clock", found, wanted, SYNCHRONISE)
    return passed("clock", found, wanted)


def judge_steadiness(first: Reading, last: Reading) -> Verdict:
    """The clock that measures durations never went back, and the calendar's did not jump, while the doctor looked."""
    wanted = "two clocks that run alike"
    elapsed = last.monotonic_s - first.monotonic_s
    step = (last.wall_s - first.wall_s) - elapsed
    if elapsed < 0:
        fix = "timeouts cannot be trusted here: update the hypervisor or the kernel"
        return failed("clock steadiness", f"the monotonic clock went back by {-elapsed:.1f} s", wanted, fix)
    if abs(step) > MOST_STEP_S:
        fix = f"somebody sets the time by hand or in jumps: {SYNCHRONISE}"
        return warned("clock steadiness", f"the time jumped by {step:+.1f} s within {elapsed:.1f} s", wanted, fix)
    return passed("clock steadiness", f"{abs(step):.2f} s apart after {elapsed:.1f} s", wanted)
