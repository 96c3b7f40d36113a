"""A model's round trip through Flower's processes: plain FedAvg on a state dict beside this project's codec and rounds.

Hub, node, server app and client app are processes of their own, as in a deployment, on loopback and without TLS; all
ways run in one go on one machine, each with a fresh hub. What is compared is a ratio of equals: with a hub that keeps
messages in memory, Flower's default, and with one that keeps them on disk, where they survive its restart, as this
project's hub does. Memory is the resident set that the operating system reports for each process, the largest of its
kind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from diffuse_uda.deployment.service_environment import MEMORY_ENVIRONMENT
from diffuse_uda.deployment.state_folder import keep_secret
from diffuse_uda.errors import DiffuseUdaError
from diffuse_uda.exchange.quiet import QUIET_ENVIRONMENT
from server.gate import ControlAccess

NUM_TENSORS = 700
MODEL_BYTES = 400_000_000
TIME_TARGET = 0.6
MEMORY_TARGET = 0.8

KINDS = {
    "flwr-serverapp": "server app",
    "flwr-clientapp": "client app",
    "flower-superlink": "hub",
    "superlink_process": "hub",
    "flower-supernode": "node",
}
"""What a process is, by a word of its command line."""

SAMPLE_S = 0.05
START_S = 120.0
STOP_S = 15.0


class BenchError(DiffuseUdaError):
    """A bench that did not come to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTrip:
    """One way of sending a model out and back."""

    way: str
    """`plain` or `packed`."""
    has_database: bool
    """Whether the hub keeps messages on disk."""
    seconds: float
    """From the model in the server app's memory to the new one there, the client app's start included."""
    peak_bytes: Mapping[str, int]
    """Largest resident set of a process, by kind."""


def measure_transport(
    *, num_tensors: int = NUM_TENSORS, model_bytes: int = MODEL_BYTES, seed: int = 0, timeout_s: float = 900.0
) -> list[tuple[RoundTrip, RoundTrip]]:
    """Measure plain Flower, then this project's way, on equal weights.

    Returns:
        The two ways with a hub that keeps messages in memory, and with one that keeps them in a database.

    Raises:
        BenchError: If a run does not end well; with the end of its hub's log.
    """
    facts = {"num-tensors": num_tensors, "model-bytes": model_bytes, "seed": seed}
    return [
        (
            _measure("plain", facts, has_database=has_database, timeout_s=timeout_s),
            _measure("packed", facts, has_database=has_database, timeout_s=timeout_s),
        )
        for has_database in (False, True)
    ]


def _measure(way: str, facts: Mapping[str, int], *, has_database: bool, timeout_s: float) -> RoundTrip:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as processes:
        home = Path(temporary)
        app, result_file = _write_app(home, way), home / "result.json"
        environment, port = _environment(home), _free_port()
        environment |= MEMORY_ENVIRONMENT if way == "packed" else {}
        address = f"127.0.0.1:{port}"
        connection = f'[superlink]\ndefault = "own"\n[superlink.own]\naddress = "{address}"\ninsecure = true\n'
        (home / "config.toml").write_text(connection, encoding="utf-8")
        served = [*(_own_hub(home) if way == "packed" else ("flower-superlink",)), "--insecure"]
        served += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
        served += ["--database", str(home / "hub.db")] if has_database else []
        hub = processes.enter_context(_running(served, environment, home))
        _wait_until_healthy(hub, port, home)
        joined = ["flower-supernode", "--insecure", "--superlink", address, "--port", str(_free_port())]
        node = processes.enter_context(_running(joined, environment, home))
        peaks = processes.enter_context(_peaks([hub.pid, node.pid]))
        options = "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())
        (home / "options.toml").write_text(f'{options}result-file = "{result_file}"\n', encoding="utf-8")
        command = ["flwr", "run", str(app), "own", "-c", str(home / "options.toml"), "--format", "json"]
        submitted = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603
        if '"success": true' not in submitted.stdout:  # its exit code says nothing
            msg = f"the app {way!r} was not taken: {submitted.stdout}{submitted.stderr}"
            raise BenchError(msg)
        deadline = time.monotonic() + timeout_s
        while not result_file.exists() or not result_file.stat().st_size:
            if time.monotonic() > deadline or hub.poll() is not None:
                msg = f"the round trip {way!r} did not end within {timeout_s:g} s\n{_log_end(home)}"
                raise BenchError(msg)
            time.sleep(0.2)
        result = json.loads(result_file.read_text(encoding="utf-8"))
        if not result["is_right"]:
            msg = f"the round trip {way!r} brought back other weights than those that were sent"
            raise BenchError(msg)
        return RoundTrip(way=way, has_database=has_database, seconds=float(result["seconds"]), peak_bytes=dict(peaks))


def _own_hub(home: Path) -> tuple[str, ...]:
    """The start of this project's hub process; Flower's options follow."""
    token = home / "admin-token"
    keep_secret(token)
    return (
        *(sys.executable, "-m", "server.superlink_process", "--federation", "bench"),
        *("--control", ControlAccess.LOOPBACK.value, "--admin-token", str(token)),
        *("--max-request-bytes", str(64 * 2**20), "--longest-outage-s", "600", "--"),
    )


def _write_app(home: Path, way: str) -> Path:
    """An app bundle of two names; its code is what the checkout holds."""
    app = home / "app"
    (app / "roundtrip").mkdir(parents=True)
    (app / "roundtrip" / "__init__.py").write_text(
        # Flower looks for assignments, without running anything.
        f"from simulations import transport_{way} as app\n\nserver = app.server\nclient = app.client\n",
        encoding="utf-8",
    )
    (app / "pyproject.toml").write_text(
        '[project]\nname = "roundtrip"\nversion = "1.0.0"\ndependencies = []\n[tool.flwr.app]\npublisher = "bench"\n'
        '[tool.flwr.app.components]\nserverapp = "roundtrip:server"\nclientapp = "roundtrip:client"\n'
        '[tool.flwr.app.config]\nnum-tensors = 1\nmodel-bytes = 1\nseed = 0\nresult-file = ""\n',
        encoding="utf-8",
    )
    return app


def _environment(home: Path) -> dict[str, str]:
    root = Path(__file__).resolve().parent.parent
    return {
        **os.environ,
        **QUIET_ENVIRONMENT,
        "FLWR_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        # Flower finds its own programs by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program and everything it starts; both are gone afterwards."""
    with (home / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        children = _family(process.pid)
        for request in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, request)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        for child in children:  # in process groups of their own
            with suppress(psutil.Error):
                child.kill()


@contextmanager
def _peaks(pids: list[int]) -> Iterator[dict[str, int]]:
    """Watch the memory of some processes and of all that they start."""
    peaks: dict[str, int] = {}
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            for pid in pids:
                for process in _family(pid):
                    with suppress(psutil.Error):
                        words = " ".join(process.cmdline())
                        kind = next((kind for word, kind in KINDS.items() if word in words), None)
                        if kind is not None:
                            peaks[kind] = max(peaks.get(kind, 0), process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peaks
    finally:
        over.set()
        sampler.join()


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _wait_until_healthy(hub: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and hub.poll() is None:
        probe = HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            probe.request("GET", "/health")
            if probe.getresponse().status == 200:
                return
        except (HTTPException, OSError):
            time.sleep(0.2)
        finally:
            probe.close()
    msg = f"Flower's server did not start within {START_S:g} s\n{_log_end(home)}"
    raise BenchError(msg)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log_end(home: Path) -> str:
    lines = [
        f"{log.stem}: {line}"
        for log in sorted(home.glob("*.log"))
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    ]
    return "\n".join(lines)
