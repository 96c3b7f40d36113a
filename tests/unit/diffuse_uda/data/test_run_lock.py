"""One run at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diffuse_uda.data.run_lock import LOCK_FILE, is_held_elsewhere, run_lock
from diffuse_uda.errors import InUseError, StorageError
from tests.crashes import in_child

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _in_thread(folder: Path) -> list[str]:
    """What another thread, hence another run, is told."""
    told: list[str] = []

    def come_second() -> None:
        try:
            with run_lock(folder):
                told.append("got it")
        except InUseError as error:
            told.append(str(error))

    thread = threading.Thread(target=come_second)
    thread.start()
    thread.join()
    return told


def test_whoever_comes_second_is_told_who_works_there(tmp_path: Path) -> None:
    with run_lock(tmp_path / "run", now=lambda: NOON):
        (told,) = _in_thread(tmp_path / "run")
        assert f"process {os.getpid()} on " in told
        assert "since 2026-11-22T12:00:00+00:00" in told
        assert "choose another folder" in told
        assert in_child(lambda: run_lock(tmp_path / "run").__enter__()) == 1
    assert _in_thread(tmp_path / "run") == ["got it"]


def test_the_same_thread_may_hold_it_twice_and_gives_it_back_once(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        with run_lock(tmp_path):
            pass
        assert "is in use" in _in_thread(tmp_path)[0]
    assert _in_thread(tmp_path) == ["got it"]


def test_a_lock_that_a_killed_process_left_is_taken_over_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def die_holding_it() -> None:
        with run_lock(tmp_path, now=lambda: NOON):
            os._exit(0)

    assert in_child(die_holding_it) == 0
    with run_lock(tmp_path):
        assert "since 2026-11-22T12:00:00+00:00, which did not end properly; its lock is taken over" in caplog.text
    caplog.clear()
    with run_lock(tmp_path):
        assert caplog.text == ""


def test_a_lock_file_that_is_no_json_or_gone_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("{")
    with run_lock(tmp_path):
        (tmp_path / LOCK_FILE).unlink()
        # The name is free again, so another run may come: the folder was emptied under the first one.
        assert _in_thread(tmp_path) == ["got it"]


def test_a_lock_on_a_file_that_vanished_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = fcntl.flock, []

    def lose_the_first(descriptor: int, kind: int) -> None:
        calls.append(kind)
        if len(calls) == 1:
            (tmp_path / LOCK_FILE).unlink()
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lose_the_first)
    with run_lock(tmp_path):
        assert len(calls) == 2
        assert (tmp_path / LOCK_FILE).exists()


def test_somebody_who_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    clock, holder = [0.0], run_lock(tmp_path)
    done = threading.Event()

    def hold() -> None:
        with holder:
            ready.set()
            done.wait(10.0)

    ready = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(10.0)

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        done.set()
        thread.join()

    with run_lock(tmp_path, patience_s=1.0, clock=lambda: clock[0], sleep=sleep):
        assert clock[0] == 0.1


@pytest.mark.parametrize(("number", "error"), [(errno.ENOLCK, StorageError), (errno.EIO, OSError)])
def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def refuse(_descriptor: int, _kind: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(error), run_lock(tmp_path):
        pass


def test_a_look_at_a_lock_neither_takes_nor_changes_it(tmp_path: Path) -> None:
    assert not is_held_elsewhere(tmp_path)
    assert list(tmp_path.iterdir()) == []
    seen: list[bool] = []
    with run_lock(tmp_path):
        before = (tmp_path / LOCK_FILE).read_bytes()
        thread = threading.Thread(target=lambda: seen.append(is_held_elsewhere(tmp_path)))
        thread.start()
        thread.join()
        assert not is_held_elsewhere(tmp_path)
        assert (tmp_path / LOCK_FILE).read_bytes() == before
    assert seen == [True]
    (tmp_path / LOCK_FILE).write_text("left by somebody who was killed")
    assert not is_held_elsewhere(tmp_path)
    assert (tmp_path / LOCK_FILE).read_text() == "left by somebody who was killed"
