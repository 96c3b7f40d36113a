"""A stop is noticed between two steps and can be taken back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from diffuse_uda.training.interruption import (
    allow_local_work,
    first_signal_waits,
    raise_if_stopped,
    stop_local_work,
)


@pytest.fixture(autouse=True)
def allowed_afterwards() -> Iterator[None]:
    yield
    allow_local_work()


def test_work_goes_on_until_a_stop_is_asked_for_and_again_after_it_is_taken_back() -> None:
    raise_if_stopped()
    stop_local_work()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            raise_if_stopped()
    allow_local_work()
    raise_if_stopped()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_second_one_ends_the_work(
    first: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(first)
    with first_signal_waits() as asked:
        assert not asked()
        signal.raise_signal(first)
        assert asked()
        assert "stopping when this round is on the disk" in caplog.text
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(first) is before


def test_a_thread_that_hears_no_signals_changes_nothing() -> None:
    before, answers = signal.getsignal(signal.SIGINT), list[bool]()

    def look() -> None:
        with first_signal_waits() as asked:
            answers.append(asked())
            answers.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert answers == [False, True]
