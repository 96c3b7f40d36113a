"""Everything this project knows about Flower beyond its public names, in one file, for one exact version.

Flower's server, node and executor are started through here, so that the hub has a gate in front of every path and the
site's own rules stand before any code that travelled. `TOUCHED` names every private attribute with the signature it
must have; `require_pinned_flower` compares it with what is installed, before a process starts and in a test.

This file is also a script. Flower's executor runs it for every task, as `python -P flower_internals.py flwr-clientapp`:
nothing of this project is imported then, so that the app's own code is the only copy of it in the process. Hence no
import of `diffuse_uda` in this file, and Flower only inside functions.
"""
# ruff: noqa: PLC0415, ANN401 - Flower is imported late on purpose, and what is passed through has Flower's types

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

logger = logging.getLogger(__name__)

FLOWER_VERSION = "1.41.0"

TASK_PROGRAMS = MappingProxyType(
    {
        "flwr-serverapp": "flwr.superlink.cli.flwr_serverapp:flwr_serverapp",
        "flwr-clientapp": "flwr.supernode.cli.flwr_clientapp:flwr_clientapp",
    }
)
"""What an executor of ours may start; agents, models, connectors and simulations are refused."""

TOUCHED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "flwr": {
            "flwr.cli.app:app": "",
            "flwr.cli.cli_client_interceptor:CliClientHttpInterceptor.intercept": "(self, context, call_next)",
        },
        "flwr build": {
            "flwr.cli.build:build_fab_from_disk": "(app)",
        },
        "flower-superlink": {
            "flwr.common.constant:HEARTBEAT_PATIENCE": "2",
            "flwr.server.superlink.linkstate.sql_linkstate:SqlLinkState.activate_node": (
                "(self, node_id, heartbeat_interval)"
            ),
            "flwr.server.superlink.linkstate.sql_linkstate:SqlLinkState.deactivate_node": "(self, node_id)",
            "flwr.supercore.app_utils:start_parent_process_monitor": "(parent_pid)",
            "flwr.supercore.corestate.sql_corestate:OBJECT_PUSH_SESSION_TTL_SECONDS": "180",
            "flwr.supercore.corestate.sql_corestate:SqlCoreState.store_object": (
                "(self, run_id, session_id, object_id, object_content)"
            ),
            "flwr.supercore.sql_mixin:SQLITE_PRAGMAS": (
                "(('busy_timeout', '5000'), ('journal_mode', 'WAL'), ('synchronous', 'NORMAL'), "
                "('foreign_keys', 'ON'), ('cache_size', '-64000'), ('temp_store', 'MEMORY'), "
                "('mmap_size', '268435456'))"
            ),
            "flwr.superlink.cli.flower_superlink:_parse_args_run_superlink": "()",
            "flwr.superlink.cli.flower_superlink:flower_superlink": "()",
            "flwr.superlink.extensions:get_middleware": "()",
            "flwr.superlink.servicer.fleet.fleet_handlers:HEARTBEAT_MAX_INTERVAL": "1800",
        },
        "flower-supernode": {
            "flwr.common.constant:ErrorCode.INVALID_FAB": "7",
            "flwr.common.constant:HEARTBEAT_MIN_INTERVAL": "10",
            "flwr.common.constant:HEARTBEAT_PATIENCE": "2",
            "flwr.supercore.app_utils:start_parent_process_monitor": "(parent_pid)",
            "flwr.supernode.cli.flower_supernode:_parse_args_run_supernode": "()",
            "flwr.supernode.cli.flower_supernode:flower_supernode": "()",
            "flwr.supernode.cli.flower_supernode:start_client_internal": (
                "(state_factory, server_address, node_config, root_certificates, insecure, authentication_keys, "
                "max_retries, max_wait_time, isolation, runtime_api_address, runtime_certificates, "
                "runtime_root_certificates_path, health_server_address, trusted_entities, superexec_auth_secret, "
                "runtime_dependency_install)"
            ),
            "flwr.supernode.fleet_http_connection:HEARTBEAT_DEFAULT_INTERVAL": "30",
            "flwr.supernode.fleet_http_connection:make_simple_http_retry_invoker": "()",
            "flwr.supernode.start_client_internal:FAB_VERIFICATION_ERROR": "",
            "flwr.supernode.start_client_internal:_verify_fab": "(fab, trusted_entities)",
            "flwr.supernode.start_client_internal:http_request_response": (
                "(server_address, insecure, root_certificates, authentication_keys, max_retries, max_wait_time)"
            ),
        },
        "flower-superexec": {
            "flwr.supercore.app_utils:start_parent_process_monitor": "(parent_pid)",
            "flwr.supercore.cli.flower_superexec:_parse_args": "()",
            "flwr.supercore.cli.flower_superexec:flower_superexec": "()",
            "flwr.supercore.constant:TASK_TYPE_TO_APPIO_API_ADDRESS_ARG": "",
            "flwr.supercore.constant:TASK_TYPE_TO_COMMAND": "",
            "flwr.supercore.superexec.executor.subprocess_executor:SubprocessExecutor.launch": "(self, spec)",
            "flwr.supercore.superexec.executor.types:LaunchResult.accepted": "()",
            "flwr.supercore.superexec.executor.types:LaunchResult.failed": "(message)",
        },
        "flwr-serverapp": {
            "flwr.superlink.cli.flwr_serverapp:flwr_serverapp": "()",
        },
        "flwr-clientapp": {
            "flwr.supernode.cli.flwr_clientapp:flwr_clientapp": "()",
            "flwr.supernode.runtime.run_clientapp:Error": "(code, reason)",
        },
    }
)
"""For every program, `module:attribute` to the names of its parameters, or to its value, or to nothing if it only has
to be there. A process looks at its own program's part: looking at all imports all of Flower."""

TASK_HOME_PREFIX = "task-"
"""Of the folders that tasks unpack their bundle into; a killed one leaves its folder to the launcher's next start."""

_CUT_LINE = ("unexpected_eof", "eof occurred", "timed out", "connection reset")
"""What OpenSSL says when the line is cut in the middle of a handshake. Flower takes every word about TLS for a wrong
certificate, and a node that gives up on a reply deletes it."""

_DATABASE_MEMORY = MappingProxyType({"cache_size": "-4000", "mmap_size": "0"})
"""SQLite's pragmas for the hub's database. Flower's, 64 MB of cache for each of up to 15 connections and 256 MB mapped,
make a hub that keeps messages on disk hold more memory than one that keeps them in memory."""

_GET_FAB = 4
"""Place of `get_fab` among the callbacks of a node's connection."""


class FlowerPinError(Exception):
    """The installed Flower is not the one that this file was written for."""


def require_pinned_flower(*programs: str) -> None:
    """Refuse to touch any Flower but the pinned one.

    Args:
        programs: Keys of `TOUCHED` to look at; none looks at the version alone.

    Raises:
        FlowerPinError: With every difference at once.
    """
    installed = metadata.version("flwr")
    differences = [] if installed == FLOWER_VERSION else [f"version: found {installed}; wanted {FLOWER_VERSION}"]
    for place, wanted in (item for program in programs for item in TOUCHED[program].items()):
        found = _describe(place)
        if found is None or (wanted and found != wanted):
            differences.append(f"{place}: found {found or 'nothing'}; wanted {wanted or 'any value'}")
    if differences:
        msg = (
            f"{Path(__file__).name} is written for Flower {FLOWER_VERSION} and cannot work with this one:\n  "
            + "\n  ".join(differences)
            + f"\nInstall flwr=={FLOWER_VERSION}; to move to another version, read what changed and mend this file."
        )
        raise FlowerPinError(msg)


def _describe(place: str) -> str | None:
    module_name, _, path = place.partition(":")
    try:
        value = _module(module_name)
        for name in path.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError):
        return None
    if callable(value):
        try:
            return f"({', '.join(inspect.signature(value).parameters)})"
        except (TypeError, ValueError):
            return "()"
    return repr(value)


def app_bundle_sha256(app: Path) -> str:
    """SHA-256 of the bundle that `flwr run` would send for a checkout; equal trees give equal bundles.

    Raises:
        ValueError: If the folder is no Flower app.
    """
    from flwr.cli.build import build_fab_from_disk

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a package of Flower's, with every pattern
        return hashlib.sha256(build_fab_from_disk(app)).hexdigest()


def program_options(program: str) -> frozenset[str]:
    """Long options that `flower-superlink`, `flower-supernode` or `flower-superexec` understands."""
    module, function = {
        "flower-superlink": ("flwr.superlink.cli.flower_superlink", "_parse_args_run_superlink"),
        "flower-supernode": ("flwr.supernode.cli.flower_supernode", "_parse_args_run_supernode"),
        "flower-superexec": ("flwr.supercore.cli.flower_superexec", "_parse_args"),
    }[program]
    parser = getattr(_module(module), function)()
    return frozenset(option for action in parser._actions for option in action.option_strings)  # noqa: SLF001


def run_superlink(arguments: Sequence[str], *, gate: Callable[..., Any], max_outage_s: float) -> None:
    """Run `flower-superlink` in this process, behind a gate, patient with sites that are cut off; it does not return.

    Args:
        arguments: Options of the program.
        gate: ASGI middleware, called with the application; it sees every request before any code of Flower.
        max_outage_s: Longest outage a site may ask for; also how long an interrupted upload is kept, in seconds.
    """
    require_pinned_flower("flower-superlink")
    from flwr.common.constant import HEARTBEAT_PATIENCE
    from starlette.middleware import Middleware

    extensions = _module("flwr.superlink.extensions")
    fleet_handlers = _module("flwr.superlink.servicer.fleet.fleet_handlers")
    sql_corestate = _module("flwr.supercore.corestate.sql_corestate")
    sql_mixin = _module("flwr.supercore.sql_mixin")
    link_state = _module("flwr.server.superlink.linkstate.sql_linkstate").SqlLinkState

    sql_mixin.SQLITE_PRAGMAS = tuple(
        (name, _DATABASE_MEMORY.get(name, value)) for name, value in sql_mixin.SQLITE_PRAGMAS
    )
    inner = extensions.get_middleware
    extensions.get_middleware = lambda: (Middleware(gate), *inner())
    fleet_handlers.HEARTBEAT_MAX_INTERVAL = int(max_outage_s / HEARTBEAT_PATIENCE)
    sql_corestate.OBJECT_PUSH_SESSION_TTL_SECONDS = int(max_outage_s)
    activate = link_state.activate_node

    def activate_after_death(state: Any, node_id: int, heartbeat_interval: float) -> bool:
        # Who knocks holds the node's private key. If Flower believes the node online, its process died: forget it now,
        # so that the coordinator hears of it, and let it in when it knocks again. Flower alone waits out the patience.
        if activate(state, node_id, heartbeat_interval):
            return True
        if state.deactivate_node(node_id):
            logger.warning(
                "node %d knocks while it counts as online: its process died; its next knock is let in", node_id
            )
        return False

    link_state.activate_node = activate_after_death
    link_state.store_object = _stored_once(link_state.store_object)
    _run("flower-superlink", "flwr.superlink.cli.flower_superlink:flower_superlink", arguments)


def _stored_once(store: Callable[..., bool]) -> Callable[..., bool]:
    """Flower's way to store a piece of a message, which may come twice.

    A node whose line breaks before it hears that a piece has arrived sends the piece again. Flower then says that
    nobody waits for it, and a node that hears so gives the whole reply up and deletes it: the round would wait in vain
    for a site that is online.
    """

    def store_once(state: Any, run_id: int, session_id: str, object_id: str, object_content: bytes) -> bool:
        if store(state, run_id, session_id, object_id, object_content):
            return True
        return bool(object_content) and state.object_store.get(object_id) == object_content

    return store_once


def run_supernode(arguments: Sequence[str], *, refusal: Callable[[str], str], outage_patience_s: float) -> None:
    """Run `flower-supernode` in this process; it runs only bundles that the site approved, and does not return.

    Args:
        arguments: Options of the program.
        refusal: Told a bundle's SHA-256 when a run begins, answers why it is refused; an empty text approves.
        outage_patience_s: How long the hub waits for a sign of life before it gives this node up, in seconds.
    """
    require_pinned_flower("flower-supernode")
    from flwr.app import Error
    from flwr.common.constant import HEARTBEAT_PATIENCE, ErrorCode

    fleet_http_connection = _module("flwr.supernode.fleet_http_connection")
    start_client_internal = _module("flwr.supernode.start_client_internal")
    fleet_http_connection.HEARTBEAT_DEFAULT_INTERVAL = int(outage_patience_s / HEARTBEAT_PATIENCE)
    connect = start_client_internal.http_request_response
    make_retries = fleet_http_connection.make_simple_http_retry_invoker

    def make_patient_retries() -> Any:
        retries = make_retries()
        gives_up = retries.should_giveup
        retries.should_giveup = lambda error: not is_cut_line(error) and gives_up(error)
        return retries

    @contextmanager
    def connect_with_labels(*args: Any, **kwargs: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*args, **kwargs) as callbacks:
            get_fab = callbacks[_GET_FAB]

            def get_labelled_fab(fab_hash: str, run_id: int) -> Any:
                fab = get_fab(fab_hash, run_id)
                fab.verifications["valid_license"] = "asks the site"  # without it Flower refuses before it verifies
                return fab

            yield (*callbacks[:_GET_FAB], get_labelled_fab, *callbacks[_GET_FAB + 1 :])

    def verify(fab: Any, _trusted: Any) -> bool:
        sha256 = hashlib.sha256(fab.content).hexdigest()
        reason = refusal(sha256) if fab.hash_str == sha256 else f"it calls itself {fab.hash_str}, which it is not"
        if reason:
            logger.error("app bundle %s is refused, none of its code ran: %s", sha256, reason)
            words = f"this site has not approved app bundle {sha256}"
            start_client_internal.FAB_VERIFICATION_ERROR = Error(ErrorCode.INVALID_FAB, words)
        return not reason

    fleet_http_connection.make_simple_http_retry_invoker = make_patient_retries
    start_client_internal.http_request_response = connect_with_labels
    start_client_internal._verify_fab = verify  # noqa: SLF001
    command = _module("flwr.supernode.cli.flower_supernode")
    start = start_client_internal.start_client_internal
    command.start_client_internal = lambda **kwargs: start(**{**kwargs, "trusted_entities": {"site": "allow-list"}})
    _run("flower-supernode", "flwr.supernode.cli.flower_supernode:flower_supernode", arguments)


def is_cut_line(error: Exception) -> bool:
    """Whether a connection broke off, so that trying again may help; a certificate is not put right by that."""
    said = str(error).lower()
    return "certificate" not in said and any(sign in said for sign in _CUT_LINE)


def run_superexec(arguments: Sequence[str], *, program: str) -> None:
    """Run `flower-superexec` in this process; it starts one kind of task, each with its token on standard input.

    Flower writes the token on the command line, where every account of the machine can read it.

    Args:
        arguments: Options of the program.
        program: `flwr-serverapp` or `flwr-clientapp`.
    """
    require_pinned_flower("flower-superexec")
    from flwr.supercore.constant import TASK_TYPE_TO_APPIO_API_ADDRESS_ARG, TASK_TYPE_TO_COMMAND
    from flwr.supercore.superexec.executor.types import LaunchResult

    def launch(_executor: Any, spec: Any) -> Any:
        if TASK_TYPE_TO_COMMAND[spec.task_type] != program:
            return LaunchResult.failed(f"this machine runs {program} only")
        command = [*script(program), TASK_TYPE_TO_APPIO_API_ADDRESS_ARG[spec.task_type], spec.runtime_api_address]
        command += ["--insecure"] if spec.insecure else ["--root-certificates", str(spec.root_certificates_path)]
        reading, writing = os.pipe()
        with os.fdopen(reading) as standard_input:
            with os.fdopen(writing, "w", encoding="ascii") as pipe:
                pipe.write(spec.token)
            subprocess.Popen([*command, "--parent-pid", str(os.getpid())], stdin=standard_input)  # noqa: S603
        return LaunchResult.accepted()

    _module("flwr.supercore.superexec.executor.subprocess_executor").SubprocessExecutor.launch = launch
    _run("flower-superexec", "flwr.supercore.cli.flower_superexec:flower_superexec", arguments)


def run_command_line(arguments: Sequence[str], *, headers: Mapping[str, str]) -> None:
    """Run `flwr` in this process with more headers on every request; it does not return.

    Args:
        arguments: What would stand behind `flwr`.
        headers: Such as the admin token; never written anywhere.
    """
    require_pinned_flower("flwr")
    interceptor_kind = _module("flwr.cli.cli_client_interceptor").CliClientHttpInterceptor
    intercept = interceptor_kind.intercept

    def intercept_with_headers(interceptor: Any, context: Any, call_next: Any) -> Any:
        context.request.headers.update(headers)
        return intercept(interceptor, context, call_next)

    interceptor_kind.intercept = intercept_with_headers
    _run("flwr", "flwr.cli.app:app", arguments)


def script(program: str) -> tuple[str, ...]:
    """Command that runs one of this file's programs, without a folder of this project on Python's path."""
    return sys.executable, "-P", str(Path(__file__).resolve()), program


def _run_task(program: str, arguments: Sequence[str]) -> None:
    """Run one task of Flower's, from a bundle unpacked for it alone, with errors that say nothing of the data."""
    require_pinned_flower(program)
    if program == "flwr-clientapp":
        from flwr.app import Error

        def sealed_error(code: int, reason: str | None = None) -> Any:
            del reason  # Flower has logged it, and would send it to the hub: a path names a patient
            return Error(code, f"the app failed outside of a task (code {code}); the reason is in this site's log")

        _module("flwr.supernode.runtime.run_clientapp").Error = sealed_error
    # Flower reuses an unpacked bundle without looking, though it may be half of one or not what it was.
    home = tempfile.mkdtemp(prefix=TASK_HOME_PREFIX, dir=os.environ.get("FLWR_HOME"))
    os.environ["FLWR_HOME"] = home
    try:
        _run(program, TASK_PROGRAMS[program], [*arguments, "--token", sys.stdin.read().strip()])
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _module(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's use of others' packages
        return importlib.import_module(name)


def _run(name: str, place: str, arguments: Sequence[str]) -> None:
    from flwr.supercore.app_utils import start_parent_process_monitor

    if name.startswith("flower-"):
        start_parent_process_monitor(os.getppid())  # a killed launcher leaves no orphans
    logging.getLogger("flwr").propagate = False  # it prints by itself
    logging.getLogger("alembic").setLevel(logging.WARNING)
    sys.argv = [name, *arguments]
    module_name, _, function = place.partition(":")
    sys.exit(getattr(_module(module_name), function)())


def main() -> None:
    """Entry of the script: an executor (`flower-superexec PROGRAM ...`) or one task of one."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    program, *arguments = sys.argv[1:]
    if program == "flower-superexec":
        run_superexec(arguments[1:], program=arguments[0])
    else:
        _run_task(program, arguments)


if __name__ == "__main__":
    main()
