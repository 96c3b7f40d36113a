"""With real processes, which end by themselves at once or wait for a signal; nothing here sleeps for luck."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from diffuse_uda.deployment.supervision import Patience, Program, Stop, ended_by_signals, keep_running

NOW = Patience(restart_delay_s=0.0, most_restarts=2, window_s=60.0, grace_s=20.0)
LONG = "import time; time.sleep(600)"


def program(name: str, code: str, folder: Path) -> Program:
    return Program(name=name, command=(sys.executable, "-c", code), environment=dict(os.environ), folder=folder)


def writes(path: str, then: str = LONG) -> str:
    return f"import os; open({path!r}, 'a').write(f'{{os.getpid()}}\\n'); {then}"


def wait_for(path: Path, lines: int) -> list[int]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.exists() and len(found := path.read_text(encoding="ascii").split()) >= lines:
            return [int(pid) for pid in found]
        time.sleep(0.02)
    pytest.fail(f"{path} never got {lines} lines")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def in_a_thread(programs: list[Program], stop: Stop, patience: Patience) -> tuple[threading.Thread, list[bool]]:
    ended: list[bool] = []

    def run() -> None:
        ended.append(keep_running(programs, stop, patience=patience, explain=lambda name, code: f"{name} {code}"))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_a_killed_program_is_started_again_and_all_end_when_asked(tmp_path: Path) -> None:
    programs = [program("one", writes("one"), tmp_path), program("two", writes("two"), tmp_path)]
    stop = Stop()
    thread, ended = in_a_thread(programs, stop, NOW)
    first, other = wait_for(tmp_path / "one", 1)[0], wait_for(tmp_path / "two", 1)[0]
    os.kill(first, signal.SIGKILL)
    second = wait_for(tmp_path / "one", 2)[1]
    stop.ask()
    thread.join(60)
    assert ended == [True]
    assert not any(map(is_alive, (first, second, other)))
    assert len(wait_for(tmp_path / "two", 1)) == 1  # the other one was left alone


def test_a_program_that_keeps_ending_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    programs = [
        program("good", writes("good"), tmp_path),
        program("bad", writes("bad", "raise SystemExit(7)"), tmp_path),
    ]
    assert not keep_running(programs, Stop(), patience=NOW, explain=lambda name, code: f"{name} said {code}")
    assert len(wait_for(tmp_path / "bad", 3)) == 3  # once, and two restarts
    assert not is_alive(wait_for(tmp_path / "good", 1)[0])
    assert "bad said 7" in caplog.text
    assert "giving up" in caplog.text


def test_old_ends_are_forgotten(tmp_path: Path) -> None:
    # Ends 100 s apart by the given clock, in a window of 60 s: never too many.
    ticks = iter(range(0, 10**6, 100))
    stop = Stop()

    def clock() -> float:
        if len((tmp_path / "bad").read_text(encoding="ascii").split()) >= 5:
            stop.ask()
        return float(next(ticks))

    programs = [program("bad", writes("bad", "raise SystemExit(1)"), tmp_path)]
    assert keep_running(programs, stop, patience=NOW, explain=lambda _name, _code: "", clock=clock)


def test_what_a_program_left_behind_ends_with_it(tmp_path: Path) -> None:
    grandchild = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {writes('grandchild')!r}]); {LONG}"
    stop = Stop()
    thread, _ = in_a_thread([program("parent", grandchild, tmp_path)], stop, NOW)
    pid = wait_for(tmp_path / "grandchild", 1)[0]
    stop.ask()
    thread.join(60)
    until = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < until:  # reaped by init, not by us
        time.sleep(0.02)
    assert not is_alive(pid) or Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"


def test_asking_twice_does_not_wait_for_a_deaf_program(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + writes("deaf")
    stop = Stop()
    patience = Patience(restart_delay_s=0.0, grace_s=600.0)
    thread, ended = in_a_thread([program("deaf", deaf, tmp_path)], stop, patience)
    pid = wait_for(tmp_path / "deaf", 1)[0]
    stop.ask()
    stop.ask()
    thread.join(60)
    assert ended == [True]
    assert not is_alive(pid)


def test_a_program_that_cannot_start_ends_those_before_it(tmp_path: Path) -> None:
    missing = Program(name="no", command=("/nowhere/program",), environment={}, folder=tmp_path)
    with pytest.raises(FileNotFoundError):
        keep_running([program("one", LONG, tmp_path), missing], Stop(), patience=NOW, explain=lambda _n, _c: "")


def test_signals_ask_and_go_back_to_what_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    with ended_by_signals(stop):
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked.is_set()
        assert not stop.at_once.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.at_once.is_set()
    assert signal.getsignal(signal.SIGTERM) is before
