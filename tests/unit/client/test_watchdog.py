"""Work that shows progress may take for ever; work that stands still is answered for."""

from __future__ import annotations

import threading

import pytest

from client.watchdog import watched
from diffuse_uda.errors import SiteTaskError, StandstillError
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.training.pulse import Pulse, show_progress


class Clock:
    """Time passes when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_result_comes_back() -> None:
    assert watched(lambda: 42, silence_limit_s=10.0) == 42


@pytest.mark.parametrize("error", [ValueError("words"), KeyboardInterrupt(), SystemExit(3)])
def test_what_the_work_raises_is_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        watched(fail, silence_limit_s=10.0)


def test_a_standstill_is_given_up_after_the_limit() -> None:
    clock, hangs = Clock(), threading.Event()

    def later(_done: threading.Event, seconds: float) -> None:
        clock.now += seconds

    with pytest.raises(StandstillError, match="no progress for 30 s"):
        watched(hangs.wait, silence_limit_s=30.0, pulse=Pulse(clock), wait=later)
    assert clock.now == 30.0
    assert issubclass(StandstillError, SiteTaskError)
    hangs.set()


def test_progress_is_never_given_up_however_long_the_work_takes() -> None:
    clock = Clock()
    beat, beaten = threading.Event(), threading.Event()

    def steps() -> str:
        for _ in range(100):
            beat.wait()
            beat.clear()
            raise_if_stopped()
            beaten.set()
        return "done"

    def later(done: threading.Event, seconds: float) -> None:
        # Twenty seconds pass, then the work takes a step: 2000 s of work with a limit of 30 s.
        clock.now += 20.0
        beat.set()
        while not beaten.wait(0.01) and not done.is_set():
            pass
        beaten.clear()

    assert watched(steps, silence_limit_s=30.0, pulse=Pulse(clock), wait=later) == "done"
    assert clock.now >= 1980.0


def test_work_that_was_given_up_ends_at_its_next_step_and_writes_nothing_more() -> None:
    clock, resumes, ended = Clock(), threading.Event(), threading.Event()
    written: list[str] = []

    def hang_then_go_on() -> None:
        try:
            resumes.wait()
            raise_if_stopped()
            written.append("result")
        finally:
            ended.set()

    def later(_done: threading.Event, seconds: float) -> None:
        clock.now += seconds

    with pytest.raises(StandstillError):
        watched(hang_then_go_on, silence_limit_s=5.0, pulse=Pulse(clock), wait=later)
    resumes.set()
    assert ended.wait(5.0)
    assert written == []


def test_two_sites_of_one_process_do_not_beat_for_each_other() -> None:
    slow, fast = Pulse(clock := Clock()), Pulse(clock)
    clock.now = 9.0
    watched(show_progress, silence_limit_s=10.0, pulse=fast)
    assert (slow.silence_s, fast.silence_s) == (9.0, 0.0)


def test_unwatched_work_beats_for_nobody() -> None:
    show_progress()
