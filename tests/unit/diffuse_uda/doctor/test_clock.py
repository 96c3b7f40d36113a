"""A minute off is a warning, four are a failure: Flower refuses a node that is five minutes off."""

from __future__ import annotations

import pytest

from diffuse_uda.doctor.clock import Clocks, Reading, judge_skew, judge_steadiness
from diffuse_uda.doctor.verdict import Status

NOON = 1_795_176_000.0


@pytest.mark.parametrize(
    ("ahead_s", "status", "words"),
    [
        (0.0, Status.PASS, "0 s"),
        (59.9, Status.PASS, "60 s ahead of"),
        (60.0, Status.WARN, "60 s ahead of"),
        (-60.0, Status.WARN, "60 s behind"),
        (239.0, Status.WARN, "239 s ahead of"),
        (240.0, Status.FAIL, "240 s ahead of"),
        (-600.0, Status.FAIL, "600 s behind"),
        (3600.0, Status.FAIL, "3600 s ahead of"),
    ],
)
def test_skew_against_the_hub(ahead_s: float, status: Status, words: str) -> None:
    line = judge_skew(NOON, NOON + 0.5 + ahead_s)  # the hub's header has whole seconds: half of one is the best guess
    assert line.status is status
    assert words in line.found


def test_a_hub_that_tells_no_time_is_a_warning() -> None:
    assert judge_skew(None, NOON).status is Status.WARN


@pytest.mark.parametrize(
    ("wall_s", "monotonic_s", "status"),
    [(10.0, 10.0, Status.PASS), (11.0, 10.0, Status.PASS), (3610.0, 10.0, Status.WARN), (-50.0, 10.0, Status.WARN)],
)
def test_a_calendar_that_jumps_is_a_warning(wall_s: float, monotonic_s: float, status: Status) -> None:
    first = Reading(wall_s=NOON, monotonic_s=5.0)
    assert judge_steadiness(first, Reading(wall_s=NOON + wall_s, monotonic_s=5.0 + monotonic_s)).status is status


def test_a_duration_clock_that_goes_back_is_a_failure() -> None:
    line = judge_steadiness(Reading(wall_s=NOON, monotonic_s=5.0), Reading(wall_s=NOON, monotonic_s=3.5))
    assert line.status is Status.FAIL
    assert "went back by 1.5 s" in line.found


def test_this_machines_clocks_are_steady() -> None:
    clocks = Clocks()
    assert judge_steadiness(clocks.read(), clocks.read()).status is Status.PASS
