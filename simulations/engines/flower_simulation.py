"""The same apps under Flower's simulation engine (Ray), as `flwr run .` would run them, but cleaned up after.

`flwr run .` leaves a server behind that any later run, of any checkout, would use. Here a run has a server, a port and
a home folder of its own, and its end is read from Flower's list of runs: exit codes say 0 for a run that failed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from diffuse_uda.errors import DiffuseUdaError
from diffuse_uda.exchange.quiet import QUIET_ENVIRONMENT
from diffuse_uda.types import Scalar
from simulations.engines.own_processes import free_ports, kill_marked

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0
POLL_SHARE = 0.1
"""Pause between two looks at the list of runs, as a share of the time waited; every look is a process of its own."""

SHORTEST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
LOG_FILE = "superlink.log"
LOG_LINES = 40
FINISHED = "finished:"
COMPLETED = "finished:completed"


class SimulationError(DiffuseUdaError):
    """Flower's simulation engine did not carry a run to its end."""


def run_simulation_engine(
    run_config: Mapping[str, Scalar],
    *,
    num_nodes: int,
    home: Path,
    app_dir: Path | None = None,
    work_dir: Path | None = None,
    cpus_per_node: int = 1,
    timeout_s: float = 3600.0,
) -> None:
    """Run a whole study under Flower's simulation engine; the results are in the run folder.

    Args:
        run_config: Overrides of the keys that the app declares in `pyproject.toml`.
        num_nodes: Simulated nodes; which sites they play is in `simulation.sites-file`.
        home: Folder of this run for Flower: its app, its database, its log. Made if missing.
        app_dir: The checkout to run; this one when absent.
        work_dir: Folder that relative paths in the configuration start from; the current one when absent.
        cpus_per_node: Cores that Ray sets aside for one working node.
        timeout_s: Longest time the run may take, in seconds.

    Raises:
        SimulationError: If the run cannot be started, fails, or takes too long; with the end of its log.
    """
    app_dir = app_dir or Path(__file__).resolve().parents[2]
    home.mkdir(parents=True, exist_ok=True)
    (home / "overrides.toml").write_text(_toml(run_config), encoding="utf-8")
    with _superlink(home, work_dir or Path.cwd()) as environment:
        resources = f"num-supernodes={num_nodes} client-resources-num-cpus={cpus_per_node}"
        started = _flwr(
            ["run", str(app_dir), "-c", str(home / "overrides.toml"), "--federation-config", resources], environment
        )
        run_id = str(started["run-id"])
        began = time.monotonic()
        status = ""
        while not status.startswith(FINISHED):
            waited = time.monotonic() - began
            if waited > timeout_s:
                end = _run_log_end(run_id, environment)
                msg = f"run {run_id} is {status or 'unknown'} after {timeout_s:g} s\n{end}"
                raise SimulationError(msg)
            time.sleep(min(max(POLL_SHARE * waited, SHORTEST_PAUSE_S), LONGEST_PAUSE_S))
            runs = _flwr(["ls", "--run-id", run_id], environment)["runs"]
            status = str(runs[0]["status"]) if runs else ""
        if status != COMPLETED:
            msg = (
                f"run {run_id} ended as {status}: {runs[0].get('status-details')}\n{_run_log_end(run_id, environment)}"
            )
            raise SimulationError(msg)


@contextmanager
def _superlink(home: Path, work_dir: Path) -> Iterator[dict[str, str]]:
    """Start Flower's server on a free port of this machine, and take it and its children down again."""
    port = free_ports(1)[0]
    environment = {
        **os.environ,
        **QUIET_ENVIRONMENT,
        "FLWR_HOME": str(home.resolve()),
        # Ray gives up after half a minute, which a busy machine may need.
        "RAY_raylet_start_wait_time_s": "300",
        # A hospital's proxy has no business between two programs of one machine.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        # Flower finds its own programs by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    connection = f'[superlink]\ndefault = "own"\n[superlink.own]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "config.toml").write_text(connection, encoding="utf-8")
    command = ["flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with (home / LOG_FILE).open("ab") as log:
        server = subprocess.Popen(  # noqa: S603
            command, env=environment, cwd=work_dir, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_healthy(server, port, home)
        yield environment
    finally:
        _stop(server)
        kill_marked("FLWR_HOME", str(home.resolve()))  # what Ray has put into process groups of its own


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        probe = HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            probe.request("GET", "/health")
            if probe.getresponse().status == HTTPStatus.OK:
                return
        except (HTTPException, OSError):
            time.sleep(0.2)
        finally:
            probe.close()
    msg = f"Flower's server did not start within {START_TIMEOUT_S:g} s\n{_log_end(home)}"
    raise SimulationError(msg)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server's process group: first with a request, then without."""
    for request, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        try:
            os.killpg(server.pid, request)
        except ProcessLookupError:
            break
        try:
            server.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    server.wait(STOP_TIMEOUT_S)


def _flwr(arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Call Flower's command line and read its JSON answer."""
    command = ["flwr", *arguments, "--format", "json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        answer: dict[str, Any] = json.loads(run.stdout)
    except json.JSONDecodeError:
        answer = {}
    if not answer.get("success"):
        msg = f"`flwr {arguments[0]}` failed: {answer.get('error-message') or run.stdout + run.stderr}"
        raise SimulationError(msg)
    return answer


def _toml(values: Mapping[str, Scalar]) -> str:
    """Write flat keys; JSON's scalars are TOML's."""
    return "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in values.items())


def _run_log_end(run_id: str, environment: Mapping[str, str]) -> str:
    """Last lines of what the server app and the engine wrote."""
    command = ["flwr", "log", run_id, "--show"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return "\n".join(run.stdout.splitlines()[-LOG_LINES:])


def _log_end(home: Path) -> str:
    path = home / LOG_FILE
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-LOG_LINES:])
