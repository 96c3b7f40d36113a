"""A clock that is off by a minute is nobody's that is synchronised; Flower refuses a node that is five minutes off."""

from __future__ import annotations

import pytest

from diffuse_uda.doctor.clock import Clocks, Reading, judge_skew, judge_steadiness
from diffuse_uda.doctor.verdict import Status

NOON = 1_795_176_000.0


@pytest.mark.parametrize(
    ("ahead_s", "status", "words"),
    [
        (0.0, Status.PASS, "0 s"),
        (19.9, Status.PASS, "20 s ahead of"),
        (20.0, Status.WARN, "20 s ahead of"),
        (-59.0, Status.WARN, "59 s behind"),
        (60.0, Status.FAIL, "60 s ahead of"),
        (-600.0, Status.FAIL, "600 s behind"),
        (3600.0, Status.FAIL, "3600 s ahead of"),
    ],
)
@pytest.mark.fault("R-11")
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
@pytest.mark.fault("R-11")
def test_a_calendar_that_jumps_is_a_warning(wall_s: float, monotonic_s: float, status: Status) -> None:
    first = Reading(wall_s=NOON, monotonic_s=5.0)
    assert judge_steadiness(first, Reading(wall_s=NOON + wall_s, monotonic_s=5.0 + monotonic_s)).status is status


@pytest.mark.fault("R-11")
def test_a_duration_clock_that_goes_back_is_a_failure() -> None:
    line = judge_steadiness(Reading(wall_s=NOON, monotonic_s=5.0), Reading(wall_s=NOON, monotonic_s=3.5))
    assert line.status is Status.FAIL
    assert "went back by 1.5 s" in line.found


def test_this_machines_clocks_are_steady() -> None:
    clocks = Clocks()
    assert judge_steadiness(clocks.read(), clocks.read()).status is Status.PASS
