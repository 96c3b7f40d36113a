"""A run is watched until it says how it ended; whoever is to be killed is killed at work, and started again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from server.ending import END_FILE, RunEnd
from server.history import HISTORY_FILE
from simulations.rehearsal import performance as module
from simulations.rehearsal.performance import CLIENT_APP, SERVER_APP, Performance
from simulations.rehearsal.plan import Kill
from simulations.rehearsal.services import RehearsalError, Running, Service
from simulations.rehearsal.stage import Stage


class _Watched(Running):
    """Services that exist on paper."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def start(self, service: Service) -> None:
        self.done.append(f"start {service.name}")

    def kill(self, service: Service) -> int:
        self.done.append(f"kill {service.name}")
        return 4


class _Show(Performance):
    """A run of which every look sees one round more."""

    at_work: set[str]
    looks: int

    def administer(self, *arguments: str) -> str:
        assert isinstance(self.running, _Watched)
        self.running.done.append(arguments[0])
        return json.dumps({"success": True, "run-id": "7"})


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Show:
    services = {name: Service(name=name, command=("-",), folder=tmp_path / name) for name in ("hub", "a", "b")}
    stage = Stage(
        hub=services["hub"],
        hub_settings=tmp_path / "hub/hub.toml",
        hub_health=(),
        sites=(services["a"], services["b"]),
        public_keys={"a": tmp_path / "a.pub", "b": tmp_path / "b.pub"},
        run_dir=tmp_path / "run",
        app=tmp_path / "app",
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "hub").mkdir()
    made = _Show(stage=stage, running=_Watched(), say=lambda _line: None, until=time.monotonic() + 60.0)
    made.at_work, made.looks = {f"hub {SERVER_APP}", f"a {CLIENT_APP}", f"b {CLIENT_APP}"}, 0

    def sleep(_seconds: float) -> None:
        made.looks += 1
        (tmp_path / "run" / HISTORY_FILE).write_text("{}\n" * made.looks)
        if made.looks == 5:
            (tmp_path / "run" / END_FILE).write_text(json.dumps({"end": "completed"}))

    def kill(*_: str, running: str) -> int:
        _done(made).append(f"kill{running}")
        return 1

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(
        module, "_tasks", lambda service, program: [1] if f"{service.name} {program}" in made.at_work else []
    )
    monkeypatch.setattr(module, "kill_marked", kill)
    monkeypatch.setattr(module, "wait_until_serving", lambda *_, **__: {"link": "SERVING"})
    return made


def _done(show: _Show) -> list[str]:
    assert isinstance(show.running, _Watched)
    return show.running.done


def test_the_hub_comes_first_then_the_keys_then_the_sites(show: _Show) -> None:
    show.open()
    assert _done(show) == ["start hub", "supernode", "supernode", "start a", "start b"]


def test_an_undisturbed_run_is_started_once(show: _Show) -> None:
    assert show.play({"method": "asc"}) is RunEnd.COMPLETED
    assert _done(show) == ["run"]
    overrides = (show.stage.hub.folder / "overrides.toml").read_text()
    assert '"method" = "asc"' in overrides
    assert f'"run-dir" = "{show.stage.run_dir}"' in overrides


def test_everybody_who_is_killed_is_started_again(show: _Show) -> None:
    assert show.play({}, [Kill.SITE, Kill.COORDINATOR, Kill.HUB]) is RunEnd.COMPLETED
    coordinator = "killflower_internals.py\0flwr-serverapp"
    assert _done(show) == ["run", "kill b", "start b", coordinator, "run", "kill hub", "start hub", "run"]
    assert show.looks == 5
    assert show.killed == [Kill.SITE, Kill.COORDINATOR, Kill.HUB]


def test_nobody_is_killed_without_work_to_lose(show: _Show) -> None:
    show.at_work = {f"hub {SERVER_APP}", f"a {CLIENT_APP}"}  # the victim rests
    assert show.play({}, [Kill.SITE]) is RunEnd.COMPLETED
    assert _done(show) == ["run"]
    assert show.killed == []


def test_a_server_app_that_never_comes_ends_the_patience(show: _Show, monkeypatch: pytest.MonkeyPatch) -> None:
    show.at_work = set()
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", -1.0)
    with pytest.raises(RehearsalError, match="no server app for"):
        show.play({})


def test_a_run_without_end_is_ended(show: _Show) -> None:
    show.until = 0.0
    with pytest.raises(RehearsalError, match="the time is over"):
        show.play({})


def test_a_run_that_is_not_taken_says_why(show: _Show, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"success": False, "error-message": "unknown key"})
    monkeypatch.setattr(_Show, "administer", lambda *_: answer)
    with pytest.raises(RehearsalError, match="the run was not taken: unknown key"):
        show.play({})


def test_a_command_that_fails_says_what_it_said(show: _Show) -> None:
    with pytest.raises(RehearsalError, match=r"`flwr ls` failed:\n(.|\n)*cannot read the settings"):
        Performance.administer(show, "ls")
