"""The hub as a service: checks before it starts, Flower's server behind the gate, its executor, and an orderly end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.deployment.readiness import ca_fingerprint, port_verdicts, refuse_failures, server_verdicts
from diffuse_uda.deployment.service_environment import service_environment
from diffuse_uda.deployment.state_folder import (
    clear_leftovers,
    keep_secret,
    make_private_folder,
    read_secret,
)
from diffuse_uda.deployment.supervision import Patience, Program, Stop, ended_by_signals, keep_running
from diffuse_uda.doctor.address import parse_address
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.flower_internals import (
    TASK_HOME_PREFIX,
    FlowerPinError,
    require_pinned_flower,
    run_command_line,
    script,
)
from server.gate import ADMIN_HEADER, ControlAccess
from server.hub_settings import HubSettings

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder that holds `server`: it is never installed."""

_CONTROL_WORDS = {
    ControlAccess.TOKEN_AND_LOOPBACK: "this machine, with the admin token",
    ControlAccess.TOKEN: "whoever has the admin token",
    ControlAccess.LOOPBACK: "every account of this machine",
}


def check_hub(settings: HubSettings, *, now: datetime) -> list[str]:
    """See whether the hub can start.

    Returns:
        Warnings, a line each.

    Raises:
        ConfigError: With every reason at once.
    """
    try:
        require_pinned_flower()
    except FlowerPinError as error:
        raise ConfigError(str(error)) from None
    host = settings.own_address.host
    verdicts = server_verdicts(settings.certificate, settings.key, settings.ca, host=host, now=now)
    listens = (settings.listens_on, parse_address(settings.health), parse_address(settings.executor_health))
    return refuse_failures("the hub", [*verdicts, *port_verdicts(listens)])


def summary(settings: HubSettings) -> str:
    """What listens where, and for whom."""
    address = settings.listens_on
    token = "" if settings.control is ControlAccess.LOOPBACK else f"; token in {settings.admin_token}"
    return "\n".join(
        [
            f"hub of {settings.federation} on https://{address}",
            "  /v1/fleet/    hospitals, each with its registered key",
            "  /health       whoever reaches the port",
            f"  /v1/control/  {_CONTROL_WORDS[settings.control]}{token}",
            "  /v1/runtime/  this machine, with the executor's secret",
            f"gRPC health on {settings.health} (link) and {settings.executor_health} (executor)",
            f"state in {settings.state_dir}; results of runs below it, in runs/",
            f"CA, SHA-256: {ca_fingerprint(settings.ca)}",
        ]
    )


def programs(settings: HubSettings, inherited: Mapping[str, str]) -> list[Program]:
    """What the hub consists of."""
    environment = service_environment(inherited, flower_home=settings.flower_home)
    runs = (sys.executable, "-P", "-m", "server.superlink_process")
    link = Program(
        name="flower-superlink",
        command=(*runs, *gate_options(settings), "--", *superlink_options(settings)),
        environment={**environment, "PYTHONPATH": str(CHECKOUT)},
        folder=settings.state_dir,
    )
    executor = Program(
        name="flower-superexec",
        command=(*script("flower-superexec"), "flwr-serverapp", *superexec_options(settings)),
        environment=environment,
        folder=settings.state_dir,
    )
    return [link, executor]


def gate_options(settings: HubSettings) -> tuple[str, ...]:
    """This project's options for the link."""
    return (
        *("--federation", settings.federation),
        *("--control", settings.control.value),
        *("--admin-token", str(settings.admin_token)),
        *("--max-request-bytes", str(settings.max_request_bytes)),
        *("--longest-outage-s", str(settings.longest_outage_s)),
    )


def superlink_options(settings: HubSettings) -> tuple[str, ...]:
    """Flower's options for the link."""
    return (
        *("--host", settings.listens_on.host),
        *("--port", str(settings.listens_on.port)),
        *("--ssl-certfile", str(settings.certificate)),
        *("--ssl-keyfile", str(settings.key)),
        *("--ssl-ca-certfile", str(settings.ca)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(settings.executor_secret)),
        *("--database", str(settings.database)),
        *("--health-server-address", settings.health),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    )


def superexec_options(settings: HubSettings) -> tuple[str, ...]:
    """Flower's options for the executor."""
    return (
        *("--runtime-api-address", str(settings.own_address)),
        *("--root-certificates", str(settings.ca)),
        *("--superexec-auth-secret-file", str(settings.executor_secret)),
        *("--health-server-address", settings.executor_health),
    )


def run_hub(settings: HubSettings, say: Callable[[str], None]) -> bool:
    """Run the hub until somebody ends it.

    Args:
        settings: The administrator's.
        say: Prints a line.

    Returns:
        True after an orderly end, False if its programs kept ending by themselves.

    Raises:
        ConfigError: If it cannot start.
    """
    os.umask(0o077)  # the database holds every site's weights
    make_private_folder(settings.state_dir)
    with run_lock(settings.state_dir):
        for warning in check_hub(settings, now=datetime.now(tz=UTC)):
            say(f"warning: {warning}")
        for folder in (settings.flower_home, settings.admin_home):
            make_private_folder(folder)
        clear_leftovers(settings.flower_home, TASK_HOME_PREFIX)
        for secret in (settings.admin_token, settings.executor_secret):
            keep_secret(secret)
        write_connection(settings)
        say(summary(settings))
        stop = Stop()
        with ended_by_signals(stop):
            return keep_running(programs(settings, os.environ), stop, patience=Patience(), explain=explain)


def explain(name: str, _code: int) -> str:
    """What an administrator does about a program that ended by itself."""
    return f"What it said stands above; a run goes on by itself if {name} is back within a minute, else resume it."


def write_connection(settings: HubSettings) -> None:
    """Write the configuration of Flower's command line for this hub."""
    lines = [
        "[superlink]",
        'default = "hub"',
        "[superlink.hub]",
        f"address = {json.dumps(str(settings.own_address))}",
        f"root-certificates = {json.dumps(str(settings.ca), ensure_ascii=False)}",
    ]
    with replaced_atomically(settings.admin_home / "config.toml", mode=0o600) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_flower(settings: HubSettings, arguments: list[str]) -> None:
    """Run Flower's command line against this hub, with the admin token; it does not return.

    Raises:
        ConfigError: If the hub was never started, or this account may not read the token.
    """
    token = read_secret(settings.admin_token)
    os.environ.update(service_environment(os.environ, flower_home=settings.admin_home))
    run_command_line(arguments, headers={ADMIN_HEADER: token})
