"""A run under Flower's engine ends as Flower's list of runs says, and nothing stays behind. Two scripts play Flower."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from simulations.engines import flower_simulation
from simulations.engines.flower_simulation import SimulationError, run_simulation_engine

SERVER = """#!{python}
import http.server, os, pathlib, subprocess, sys
home = pathlib.Path(os.environ["FLWR_HOME"])
(home / "server.pid").write_text(str(os.getpid()))
child = subprocess.Popen(["sleep", "60"], start_new_session=True)  # as Ray's processes are
(home / "child.pid").write_text(str(child.pid))
(home / "environment").write_text("\\n".join(f"{{k}}={{v}}" for k, v in os.environ.items()))
(home / "cwd").write_text(os.getcwd())
print("the server's last words", flush=True)
if (home / "no-start").exists():
    sys.exit(1)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Health).serve_forever()
"""

FLWR = """#!{python}
import json, os, pathlib, sys
home = pathlib.Path(os.environ["FLWR_HOME"])
with (home / "calls").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
script = json.loads((home / "script.json").read_text())
if sys.argv[1] == "run":
    print(json.dumps(script["run"]))
elif sys.argv[1] == "log":
    print("the run's last words")
else:
    status = script["ls"].pop(0) if len(script["ls"]) > 1 else script["ls"][0]
    (home / "script.json").write_text(json.dumps(script))
    runs = [{{"run-id": "7", "status": status, "status-details": "why"}}] if status else []
    print(json.dumps({{"success": True, "runs": runs}}))
"""

PYTHON = sys.executable
STARTED = {"success": True, "run-id": "7"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, source in (("flower-superlink", SERVER), ("flwr", FLWR)):
        (programs / name).write_text(source.format(python=PYTHON), encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setattr(flower_simulation, "SHORTEST_PAUSE_S", 0.01)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def _play(home: Path, *statuses: str, started: dict[str, object] | None = None) -> None:
    script = {"run": started or STARTED, "ls": list(statuses)}
    (home / "script.json").write_text(json.dumps(script), encoding="utf-8")


def _is_gone(home: Path) -> bool:
    """Whether the server and its child have ended, at once or in a moment."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        if not any(_runs(int((home / name).read_text(encoding="utf-8"))) for name in ("server.pid", "child.pid")):
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and "Z" not in state


def test_a_completed_run_returns_and_everything_is_taken_down(home: Path, tmp_path: Path) -> None:
    _play(home, "", "pending", "running", "finished:completed")
    run_simulation_engine(
        {"seed": 3, "name": 'a "b"', "adapt.cut-mix": False}, num_nodes=3, home=home, work_dir=tmp_path
    )
    assert _is_gone(home)
    calls = [json.loads(line) for line in (home / "calls").read_text(encoding="utf-8").splitlines()]
    assert [call[0] for call in calls] == ["run", "ls", "ls", "ls", "ls"]
    assert Path(calls[0][1]) == Path(__file__).resolve().parents[4]
    assert "num-supernodes=3 client-resources-num-cpus=1" in calls[0]
    overrides = tomllib.loads((home / "overrides.toml").read_text(encoding="utf-8"))
    assert overrides == {"seed": 3, "name": 'a "b"', "adapt.cut-mix": False}
    connection = tomllib.loads((home / "config.toml").read_text(encoding="utf-8"))["superlink"]
    assert connection["own"]["address"].startswith("127.0.0.1:")
    assert (home / "cwd").read_text(encoding="utf-8") == str(tmp_path)


def test_the_engine_s_programs_are_quiet_too(home: Path) -> None:
    _play(home, "finished:completed")
    run_simulation_engine({}, num_nodes=2, home=home)
    environment = (home / "environment").read_text(encoding="utf-8").splitlines()
    assert "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1" in environment
    assert "FLWR_TELEMETRY_ENABLED=0" in environment


def test_a_failed_run_is_an_error_with_the_end_of_the_log(home: Path) -> None:
    _play(home, "running", "finished:failed")
    with pytest.raises(SimulationError, match=r"run 7 ended as finished:failed: why\nthe run's last words"):
        run_simulation_engine({}, num_nodes=2, home=home)
    assert _is_gone(home)


def test_a_run_that_does_not_end_is_ended(home: Path) -> None:
    _play(home, "running")
    with pytest.raises(SimulationError, match=r"run 7 is running after 0\.2 s"):
        run_simulation_engine({}, num_nodes=2, home=home, timeout_s=0.2)
    assert _is_gone(home)


def test_a_run_that_flower_refuses_is_an_error(home: Path) -> None:
    _play(home, "", started={"success": False, "error-message": "no such key"})
    with pytest.raises(SimulationError, match="`flwr run` failed: no such key"):
        run_simulation_engine({}, num_nodes=2, home=home)
    assert _is_gone(home)


def test_an_answer_that_is_no_json_is_an_error(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "flwr").write_text("#!/bin/sh\necho nonsense\n", encoding="utf-8")
    with pytest.raises(SimulationError, match="`flwr run` failed: nonsense"):
        run_simulation_engine({}, num_nodes=2, home=home)


def test_a_server_that_does_not_start_is_an_error(home: Path) -> None:
    (home / "no-start").touch()
    with pytest.raises(SimulationError, match=r"did not start .*\nthe server's last words"):
        run_simulation_engine({}, num_nodes=2, home=home)
    assert _is_gone(home)


def test_a_server_that_ignores_requests_is_killed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_simulation, "STOP_TIMEOUT_S", 0.2)
    stubborn = SERVER.replace(
        "import http", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nimport http"
    )
    (tmp_path / "bin" / "flower-superlink").write_text(stubborn.format(python=PYTHON), encoding="utf-8")
    _play(home, "finished:completed")
    run_simulation_engine({}, num_nodes=2, home=home)
    assert _is_gone(home)
