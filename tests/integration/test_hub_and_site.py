"""A real hub with TLS and node authentication, a registered site and one that nobody registered, on loopback."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from client.bundle_approval import approve
from diffuse_uda.deployment.readiness import wait_until_serving
from diffuse_uda.deployment.trial_certificates import Trial, write_trial
from diffuse_uda.doctor.address import Address
from diffuse_uda.exchange.flower_internals import app_bundle_sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0
"""For anything to happen; on an idle machine all of it takes a minute."""
PATIENT = "DOE_JANE"

CLIENT = """
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

Path("MARKER").write_text("the module was imported")
app = ClientApp()

@app.query("probe")
def probe(message, context):
    said = {"site": str(context.node_config["site-id"]), "command": Path("/proc/self/cmdline").read_text()}
    return Message(RecordDict({"said": ConfigRecord(said)}), reply_to=message)

@app.query("fail")
def fail(message, context):
    raise FileNotFoundError("/scans/" + "_".join(["DOE", "JANE"]) + "/t1.nii.gz")
"""
SERVER = """
import json, time
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.2)
    heard = [len(nodes)]
    for kind in str(context.run_config["ask"]).split():
        for reply in grid.send_and_receive([Message(RecordDict(), nodes[0], kind)], timeout=200):
            heard.append([reply.error.code, reply.error.reason] if reply.has_error() else dict(reply.content["said"]))
    out = Path(str(context.run_config["out"]))
    out.with_suffix(".part").write_text(json.dumps(heard))
    out.with_suffix(".part").rename(out)
"""
PYPROJECT = """
[project]
name = "probe"
version = "1.0.0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "probe.server_app:app"
clientapp = "probe.client_app:app"
[tool.flwr.app.config]
out = ""
ask = ""
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(what: str, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not ready():
        if time.monotonic() > until:
            pytest.fail(f"waited {LIMIT_S:g} s for {what}")
        time.sleep(0.1)


@dataclass(frozen=True, kw_only=True)
class Federation:
    folder: Path
    hub_port: int

    @property
    def ca(self) -> Path:
        return self.folder / "hub/ca.pem"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def flwr(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "server", "flwr", str(self.folder / "hub/hub.toml"), *arguments]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout

    def ask(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=self.ca)
        connection = HTTPSConnection("127.0.0.1", self.hub_port, timeout=30, context=context)
        try:
            connection.request("POST", path, b"", headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def run(self, app: Path, ask: str) -> list[Any]:
        out = self.folder / f"{app.name}.json"
        self.flwr("run", str(app), "hub", "-c", f'out="{out}" ask="{ask}"')
        wait_for(f"the run of {app.name}", out.exists)
        heard: list[Any] = json.loads(out.read_text(encoding="utf-8"))
        return heard

    def app(self, name: str) -> Path:
        """Write an app whose client leaves a marker as soon as it is imported."""
        app = self.folder / name
        (app / "probe").mkdir(parents=True)
        (app / "pyproject.toml").write_text(PYPROJECT, encoding="ascii")
        (app / "probe/__init__.py").touch()
        client = CLIENT.replace("MARKER", str(self.marker(app)))
        (app / "probe/client_app.py").write_text(client, encoding="ascii")
        (app / "probe/server_app.py").write_text(SERVER, encoding="ascii")
        return app

    def marker(self, app: Path) -> Path:
        return self.folder / f"{app.name}.imported"


@contextmanager
def running(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()


def write_site(folder: Path, name: str, hub_port: int) -> Path:
    ports = [free_port() for _ in range(3)]
    (folder / "data").mkdir()
    approve("0" * 64, folder / "approved.txt", note="nothing that exists")
    path = folder / "site.toml"
    path.write_text(
        f'site-id = "{name}"\nrole = "target"\ndata-dir = "data"\nworkspace = "work"\nstate-dir = "state"\n'
        f'hub = "127.0.0.1:{hub_port}"\nca = "ca.pem"\nkey = "{name}.key"\napproved-bundles = "approved.txt"\n'
        f'federation = "tests"\nruntime-port = {ports[0]}\nhealth-port = {ports[1]}\n'
        f"executor-health-port = {ports[2]}\n",
        encoding="ascii",
    )
    return path


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("federation")
    trial = Trial(hub_names=("hub.example.org",), site_ids=("leeds", "york"), days=60)
    write_trial(folder, trial, now=datetime.now(tz=UTC))
    ports = [free_port() for _ in range(3)]
    hub_toml = folder / "hub/hub.toml"
    hub_toml.write_text(
        'federation = "tests"\nstate-dir = "state"\ncertificate = "hub.pem"\nkey = "hub.key"\nca = "ca.pem"\n'
        f'listen = "127.0.0.1:{ports[0]}"\nhealth = "127.0.0.1:{ports[1]}"\nexecutor-health = "127.0.0.1:{ports[2]}"\n',
        encoding="ascii",
    )
    made = Federation(folder=folder, hub_port=ports[0])
    with ExitStack() as stack:
        processes = [stack.enter_context(running(folder, "hub", "server", "hub", str(hub_toml)))]
        health = [Address(host="127.0.0.1", port=port) for port in ports[1:]]
        assert set(wait_until_serving(health, wait_s=LIMIT_S).values()) == {"SERVING"}, made.log("hub")
        made.flwr("supernode", "register", str(folder / "sites/leeds/leeds.pub"), "--name", "leeds")
        toml = write_site(folder / "sites/leeds", "leeds", ports[0])
        processes.append(stack.enter_context(running(folder, "leeds", "client", "site", str(toml))))
        yield made
    assert [process.returncode for process in processes] == [0, 0]  # the hub and leeds ended when asked
    logged = "\n".join(made.log(name) for name in ("hub", "leeds", "york"))
    for pid in re.findall(r"runs as process (\d+)", logged):
        assert not Path(f"/proc/{pid}").exists()  # no orphans


def test_a_hospital_without_the_token_reaches_nothing_but_the_fleet(federation: Federation) -> None:
    for path in ("/v1/control/start-run", "/v1/control/register-node", "/v1/control/list-runs", "/docs"):
        assert federation.ask(path)[0] == 403
        assert federation.ask(path, {"x-diffuse-uda-admin": "0" * 64})[0] == 403
    assert federation.ask("/v1/runtime/acquire-task", {"x-forwarded-for": "127.0.0.1"})[0] == 403
    assert federation.ask("/v1/runtime/acquire-task")[0] != 200  # from here, but without the executor's secret
    assert federation.ask("/v1/fleet/pull-messages")[0] not in {200, 403}  # the gate is open, the signature is missing


def test_a_site_that_nobody_registered_is_refused(federation: Federation) -> None:
    toml = write_site(federation.folder / "sites/york", "york", federation.hub_port)
    with running(federation.folder, "york", "client", "site", str(toml)):
        wait_for("york's refusal", lambda: "does not know this site's public key" in federation.log("york"))
    assert "[code: 2004] Failed to activate" in federation.log("york")
    assert "SuperNode ID" not in federation.log("york")


def test_what_is_not_approved_runs_no_line_and_what_is_approved_keeps_its_words_at_home(federation: Federation) -> None:
    unread, read = federation.app("unread"), federation.app("read")
    sha256 = app_bundle_sha256(unread)
    assert federation.run(unread, "query.probe") == [1, [7, f"this site has not approved app bundle {sha256}"]]
    assert not federation.marker(unread).exists()
    assert f"app bundle {sha256} is refused, none of its code ran" in federation.log("leeds")

    approve(app_bundle_sha256(read), federation.folder / "sites/leeds/approved.txt", note="read")
    num_nodes, said, error = federation.run(read, "query.probe query.fail")
    assert num_nodes == 1  # york is not one of them
    assert said["site"] == "leeds"
    assert "--token" not in said["command"]
    assert federation.marker(read).exists()
    assert error == [2, "the app failed outside of a task (code 2); the reason is in this site's log"]
    assert PATIENT in federation.log("leeds")
    assert PATIENT not in federation.log("hub")
    for kept in (federation.folder / "hub/state").glob("state.db*"):
        assert PATIENT.encode() not in kept.read_bytes()
