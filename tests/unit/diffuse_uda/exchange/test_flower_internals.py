"""What is put before Flower's own code, without starting any of its programs."""

import hashlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord
from sqlalchemy import text

from diffuse_uda.exchange import flower_internals
from diffuse_uda.exchange.flower_internals import (
    TASK_HOME_PREFIX,
    TOUCHED,
    _module,
    run_command_line,
    run_superexec,
    run_superlink,
    run_supernode,
)

Started = list[tuple[str, str, tuple[str, ...]]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Programs that would have been started; everything that was touched goes back to what it was."""
    calls: Started = []
    monkeypatch.setattr(flower_internals, "_run", lambda name, place, args: calls.append((name, place, tuple(args))))
    # The contract test looks at the real Flower; here parts of it are played by others.
    monkeypatch.setattr(flower_internals, "require_pinned_flower", lambda *_: None)
    for places in TOUCHED.values():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = _module(module)
            *classes, name = path.split(".")
            for part in classes:
                owner = getattr(owner, part)
            if "ErrorCode" not in classes:  # an enumeration cannot be set, and is not
                monkeypatch.setattr(owner, name, vars(owner)[name])
    return calls


def test_the_gate_stands_before_everything_and_the_hub_is_patient(started: Started) -> None:
    def gate() -> None: ...

    run_superlink(["--port", "1"], gate=gate, max_outage_s=86400.0)
    middleware = _module("flwr.superlink.main")._get_middleware()
    assert middleware[0].cls is gate
    assert _module("flwr.superlink.servicer.fleet.fleet_handlers").HEARTBEAT_MAX_INTERVAL == 43200
    assert _module("flwr.supercore.corestate.sql_corestate").OBJECT_PUSH_SESSION_TTL_SECONDS == 86400
    assert started == [("flower-superlink", "flwr.superlink.cli.flower_superlink:flower_superlink", ("--port", "1"))]


@pytest.mark.usefixtures("started")
def test_a_node_that_knocks_while_it_counts_as_online_is_forgotten_and_then_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = _module("flwr.server.superlink.linkstate.sql_linkstate").SqlLinkState
    # Flower's own rule: only who is offline can be activated.
    monkeypatch.setattr(kind, "activate_node", lambda state, node_id, interval: node_id not in state.online)
    online = {7}

    def deactivate(node_id: int) -> bool:
        online.remove(node_id)
        return True

    state = SimpleNamespace(online=online, deactivate_node=deactivate)
    run_superlink([], gate=lambda: None, max_outage_s=60.0)
    assert [kind.activate_node(state, 7, 30.0) for _ in range(2)] == [False, True]
    assert kind.activate_node(state, 8, 30.0)


def test_a_piece_that_comes_twice_has_arrived(started: Started) -> None:
    """Flower's own state: its answer to the first sending got lost, so the node sends again."""
    stores = _module("flwr.supercore.object_store").ObjectStoreFactory()
    managers = _module("flwr.superlink.federation.noop_federation_manager")
    factory = _module("flwr.server.superlink.linkstate").LinkStateFactory
    tree = _module("flwr.proto.message_pb2").ObjectTree
    run_superlink([], gate=lambda: None, max_outage_s=60.0)
    assert started
    state = factory(":memory:", managers.NoOpFederationManager(), stores).state()
    piece, other = ConfigRecord({"n": 1}), ConfigRecord({"n": 2})
    session = state.start_session(1)
    for record in (piece, other):
        assert state.preregister_object_tree(tree(object_id=record.object_id), session) == [record.object_id]
    assert [state.store_object(1, session, piece.object_id, piece.deflate()) for _ in range(2)] == [True, True]
    # another content under its name, what has not come, what nobody waits for
    assert not state.store_object(1, session, piece.object_id, other.deflate())
    assert not state.store_object(1, "another session", other.object_id, other.deflate())
    assert not state.store_object(1, "another session", other.object_id, b"")
    assert not state.store_object(1, session, "0" * 64, other.deflate())
    assert state.object_store.get(piece.object_id) == piece.deflate()


@pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # of Flower's migrations
def test_a_database_holds_messages_on_disk_and_not_in_memory(started: Started, tmp_path: Path) -> None:
    stores = _module("flwr.supercore.object_store").ObjectStoreFactory
    run_superlink([], gate=lambda: None, max_outage_s=60.0)
    assert started
    store = stores(str(tmp_path / "hub.db")).store()
    with store.session() as session:
        pragmas = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("mmap_size", "cache_size")}
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    assert pragmas == {"mmap_size": 0, "cache_size": -4000}


def fab(content: bytes, name: str | None = None) -> Any:
    return SimpleNamespace(
        content=content, hash_str=name or hashlib.sha256(content).hexdigest(), verifications=dict[str, str]()
    )


def test_a_node_runs_what_its_site_approved_and_nothing_else(
    started: Started, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = _module("flwr.supernode.start_client_internal")
    command = _module("flwr.supernode.cli.flower_supernode")
    good, bad = fab(b"good"), fab(b"bad")
    given: dict[str, Any] = {}
    monkeypatch.setattr(node, "start_client_internal", lambda **kwargs: given.update(kwargs))

    @contextmanager
    def connect(*_: object) -> Iterator[tuple[Any, ...]]:
        yield (1, "receive", "send", "get_run", lambda _hash, _run: good, "pull", "push", "confirm")

    monkeypatch.setattr(node, "http_request_response", connect)
    refusals = {good.hash_str: "", bad.hash_str: "not on the list"}
    run_supernode(["--superlink", "hub:1"], refusal=refusals.__getitem__, outage_patience_s=7200.0)

    with node.http_request_response("hub:1") as callbacks:
        assert callbacks[4](good.hash_str, 1).verifications["valid_license"]
        assert callbacks[:4] + callbacks[5:] == (1, "receive", "send", "get_run", "pull", "push", "confirm")
    assert node._verify_fab(good, {})
    assert not node._verify_fab(bad, {})
    assert node.FAB_VERIFICATION_ERROR.code == 7
    assert node.FAB_VERIFICATION_ERROR.reason == f"this site has not approved app bundle {bad.hash_str}"
    assert "none of its code ran: not on the list" in caplog.text
    assert not node._verify_fab(fab(b"bad", name=good.hash_str), {})  # an approved name on other content
    assert not node._verify_fab(fab(b"good", name=bad.hash_str), {})
    command.start_client_internal(insecure=False, trusted_entities=None)
    assert given["trusted_entities"]  # otherwise Flower asks nobody
    assert _module("flwr.supernode.fleet_http_connection").HEARTBEAT_DEFAULT_INTERVAL == 3600
    assert started[0][0] == "flower-supernode"


CUT = [
    "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)",
    "_ssl.c:989: The handshake operation timed out",
    "[Errno 104] Connection reset by peer",
]
WRONG = [
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
    "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version (_ssl.c:1006)",
]


@pytest.mark.parametrize(
    ("words", "gives_up"), [*((words, False) for words in CUT), *((words, True) for words in WRONG)]
)
@pytest.mark.fault("R-06")
def test_a_node_does_not_take_a_cut_line_for_a_wrong_certificate(
    words: str, *, gives_up: bool, started: Started
) -> None:
    """Flower does: it gives up at once, and deletes the reply that it could not send."""
    connection = _module("flwr.supernode.fleet_http_connection")
    assert connection.make_simple_http_retry_invoker().should_giveup(httpx.ConnectError(words)) == (
        "ssl" in words.lower()
    )
    run_supernode([], refusal=lambda _sha256: "", outage_patience_s=60.0)
    assert connection.make_simple_http_retry_invoker().should_giveup(httpx.ConnectError(words)) is gives_up
    assert started


def test_a_task_gets_its_token_where_nobody_else_can_read_it(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, stdin: seen.append((command, stdin.read())))
    constants = _module("flwr.supercore.constant")
    executor = _module("flwr.supercore.superexec.executor.subprocess_executor").SubprocessExecutor()
    run_superexec(["--insecure"], program="flwr-clientapp")

    def spec(task: Any, *, insecure: bool) -> Any:
        return SimpleNamespace(
            task_type=task,
            runtime_api_address="127.0.0.1:9094",
            token="0f" * 8,
            insecure=insecure,
            root_certificates_path="ca.pem",
        )

    assert executor.launch(spec(constants.TaskType.CLIENT_APP, insecure=True)).status == "accepted"
    assert executor.launch(spec(constants.TaskType.CLIENT_APP, insecure=False)).status == "accepted"
    (open_command, token), (tls_command, _) = seen
    assert token == "0f" * 8
    assert token not in open_command
    assert open_command[1:] == [
        *("-P", flower_internals.__file__, "flwr-clientapp", "--runtime-api-address", "127.0.0.1:9094"),
        *("--insecure", "--parent-pid", str(os.getpid())),
    ]
    assert tls_command[6:8] == ["--root-certificates", "ca.pem"]
    others = set(constants.TaskType) - {constants.TaskType.CLIENT_APP}
    assert {executor.launch(spec(task, insecure=True)).status for task in others} == {"failed"}
    assert len(seen) == 2
    assert started[0][0] == "flower-superexec"


def test_a_task_unpacks_its_bundle_anew_and_seals_what_flower_would_tell(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("0f0f\n"))
    monkeypatch.setattr(sys, "argv", ["flower_internals.py", "flwr-clientapp", "--insecure"])
    homes: list[Path] = []

    def run(name: str, place: str, arguments: list[str]) -> None:
        homes.append(Path(os.environ["FLWR_HOME"]))
        started.append((name, place, tuple(arguments)))
        raise SystemExit(1)

    monkeypatch.setattr(flower_internals, "_run", run)
    with pytest.raises(SystemExit):
        flower_internals.main()
    assert homes[0].parent == tmp_path
    assert homes[0].name.startswith(TASK_HOME_PREFIX)
    assert list(tmp_path.iterdir()) == []
    assert started[0][2] == ("--insecure", "--token", "0f0f")
    error = _module("flwr.supernode.runtime.run_clientapp").Error(code=2, reason="/scans/DOE_JANE")
    assert (error.code, "DOE_JANE" in error.reason) == (2, False)
    assert "the reason is in this site's log" in error.reason


def test_the_script_starts_an_executor_of_one_program(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["flower_internals.py", "flower-superexec", "flwr-serverapp", "--insecure"])
    flower_internals.main()
    assert started[0][2] == ("--insecure",)


@pytest.mark.usefixtures("started")
def test_the_command_line_sends_its_headers_with_every_request() -> None:
    run_command_line(["ls"], headers={"x-token": "secret"})
    interceptor = _module("flwr.cli.cli_client_interceptor").CliClientHttpInterceptor()
    context = SimpleNamespace(request=SimpleNamespace(headers={}))
    assert interceptor.intercept(context, lambda asked: asked.request.headers["x-token"]) == "secret"


def test_a_program_sees_its_arguments_and_ends_with_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int] = []
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(_module("flwr.supercore.app_utils"), "start_parent_process_monitor", watched.append)
    program = _module("flwr.supercore.cli.flower_superexec")
    monkeypatch.setattr(program, "flower_superexec", lambda: list(sys.argv))
    monkeypatch.setattr(sys, "argv", ["before"])
    with pytest.raises(SystemExit) as caught:
        flower_internals._run("flower-superexec", "flwr.supercore.cli.flower_superexec:flower_superexec", ["--x"])
    assert caught.value.args == (["flower-superexec", "--x"],)
    assert watched == [os.getppid()]
