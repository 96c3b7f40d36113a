"""Services are ended in order, killed without a word, and never left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from simulations.rehearsal import services
from simulations.rehearsal.services import RehearsalError, Running, Service, cleaned_up

WAITS = """
import pathlib, signal, subprocess, sys, time
pathlib.Path(__file__).with_name("started").open("a").write("x")
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
else: signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
pathlib.Path(__file__).with_name("ready").touch()
try: time.sleep(60)
finally: child.kill()
"""


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    (tmp_path / "ends.py").write_text("raise SystemExit('no scans')")
    monkeypatch.setattr(services, "CHECKOUT", tmp_path)


def _service(folder: Path, *command: str) -> Service:
    own = folder / command[-1]
    own.mkdir(exist_ok=True)
    return Service(name=command[-1], command=command, folder=own)


def _wait_for(path: Path) -> None:
    while not path.exists():
        pass
    path.unlink()


def test_a_service_that_is_asked_ends_and_takes_its_child_along(tmp_path: Path) -> None:
    service = _service(tmp_path, "waits")
    with cleaned_up() as running:
        running.start(service)
        _wait_for(tmp_path / "ready")
        assert len(service.processes()) == 2
        assert running.end() == {"waits": 0}
        assert service.processes() == []


def test_a_killed_service_starts_again(tmp_path: Path) -> None:
    service = _service(tmp_path, "waits")
    with cleaned_up() as running:
        for _ in range(2):
            running.start(service)
            _wait_for(tmp_path / "ready")
            running.require_alive()
            assert running.kill(service) == 2
    assert (tmp_path / "started").read_text() == "xx"
    assert running.services == [service]


def test_whoever_ends_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    service = _service(tmp_path, "ends")
    with cleaned_up() as running:
        running.start(service)
        with pytest.raises(RehearsalError, match=r"ends ended with exit code 1(.|\n)*no scans"):
            _until_it_ends(running)


def _until_it_ends(running: Running) -> None:
    while True:
        running.require_alive()


def test_who_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "GRACE_S", 0.2)
    service = _service(tmp_path, "waits", "stubborn")
    with cleaned_up() as running:
        running.start(service)
        _wait_for(tmp_path / "ready")
        assert running.end() == {"stubborn": -9}
        monkeypatch.setattr(services, "GRACE_S", 60.0)
    assert service.processes() == []


def _signalled(service: Service, ready: Path, number: signal.Signals) -> None:
    with cleaned_up() as running:
        running.start(service)
        _wait_for(ready)
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nobody_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    service = _service(tmp_path, "waits")
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=number.name):
        _signalled(service, tmp_path / "ready", number)
    assert service.processes() == []
    assert signal.getsignal(number) is before
