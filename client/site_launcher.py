"""A site as a service: checks before its start, Flower's node under the hospital's rules, an executor, a calm end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.bundle_approval import read_approved
from client.site_settings import SiteSettings
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.deployment.readiness import ca_verdicts, hub_verdicts, port_verdicts, refuse_failures
from diffuse_uda.deployment.service_environment import service_environment
from diffuse_uda.deployment.state_folder import clear_leftovers, keep_secret, make_private_folder
from diffuse_uda.deployment.supervision import Patience, Program, Stop, ended_by_signals, keep_running
from diffuse_uda.doctor.address import parse_address
from diffuse_uda.doctor.clock import Clocks
from diffuse_uda.doctor.hub import HubAnswer, call_hub
from diffuse_uda.doctor.hub_verdicts import Expected
from diffuse_uda.doctor.keys import UnusableKey, judge_key_file, judge_site_key, observe_key_file, read_key
from diffuse_uda.doctor.verdict import Status, Verdict, failed
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.flower_internals import TASK_HOME_PREFIX, FlowerPinError, require_pinned_flower, script
from diffuse_uda.exchange.signing import fingerprint, open_key
from diffuse_uda.exchange.site_policy import read_site_policy

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder that holds `client`: it is never installed."""

HUB_TIMEOUT_S = 10.0
PATIENCE = Patience(restart_delay_s=10.0, most_restarts=3)
"""The delay lets the coordinator hear that the node is gone before it is back."""


def check_site(settings: SiteSettings, answer: HubAnswer, *, now: datetime) -> list[str]:
    """See whether the site can start.

    Args:
        settings: The hospital's.
        answer: What came back from the hub; one that is not there is no reason to stay down.
        now: With a time zone.

    Returns:
        Warnings, a line each.

    Raises:
        ConfigError: With every reason at once; the lists of the hospital's are looked at first.
    """
    try:
        require_pinned_flower()
    except FlowerPinError as error:
        raise ConfigError(str(error)) from None
    expected = Expected(fingerprint=settings.fingerprint, federation=settings.federation)
    read_approved(settings.approved_bundles)
    read_site_policy(settings.egress_policy)
    if not settings.data_dir.is_dir() or not os.access(settings.data_dir, os.R_OK | os.X_OK):
        msg = f"data-dir {settings.data_dir}: no folder that this account may read; correct it, or grant the right"
        raise ConfigError(msg)
    return refuse_failures(
        "the site",
        [
            judge_key_file(settings.key, observe_key_file(settings.key)),
            judge_node_key(settings.key),
            *ca_verdicts(settings.ca, now=now),
            *port_verdicts((settings.runtime, settings.health, settings.executor_health)),
            *hub_verdicts(parse_address(settings.hub), answer, settings.ca, expected),
        ],
    )


def judge_node_key(path: Path) -> Verdict:
    """The key is one that Flower's node signs with."""
    key = read_key(path)
    verdict = judge_site_key(path, key)
    if verdict.status is Status.FAIL or isinstance(key, ec.EllipticCurvePrivateKey):
        return verdict
    wanted = "the node's key: an elliptic curve's, in OpenSSH form"
    return failed("site key", verdict.found, wanted, "ssh-keygen -t ecdsa -b 384 -N '' -f FILE")


def public_key(settings: SiteSettings) -> str:
    """The public half of the site's key, as the hub registers it; empty if the key is unusable."""
    key = read_key(settings.key)
    if isinstance(key, UnusableKey):
        return ""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def summary(settings: SiteSettings) -> str:
    """Who the site is, whom it calls, what listens where."""
    policy = settings.egress_policy or "none of the site's own: the study's word is enough"
    return "\n".join(
        [
            f"site {settings.site_id} ({settings.role.value}) calls https://{settings.hub} and nobody else",
            f"  approved bundles  {settings.approved_bundles} ({len(read_approved(settings.approved_bundles))})",
            f"  egress policy     {policy}",
            f"  outages           up to {settings.outage_patience_s / 3600:g} h",
            f"  listens on        {settings.runtime} (executor, with its secret)",
            f"  gRPC health       {settings.health} (node), {settings.executor_health} (executor)",
            f"  public key        {public_key(settings)}",
        ]
    )


def programs(settings: SiteSettings, inherited: Mapping[str, str]) -> list[Program]:
    """What the site consists of."""
    environment = service_environment(inherited, flower_home=settings.flower_home)
    runs = (sys.executable, "-P", "-m", "client.supernode_process")
    node = Program(
        name="flower-supernode",
        command=(*runs, *rule_options(settings), "--", *supernode_options(settings)),
        environment={**environment, "PYTHONPATH": str(CHECKOUT)},
        folder=settings.state_dir,
    )
    executor = Program(
        name="flower-superexec",
        command=(*script("flower-superexec"), "flwr-clientapp", *superexec_options(settings)),
        environment=environment,
        folder=settings.state_dir,
    )
    return [node, executor]


def rule_options(settings: SiteSettings) -> tuple[str, ...]:
    """This project's options for the node."""
    return (
        *("--approved-bundles", str(settings.approved_bundles)),
        *("--outage-patience-s", str(settings.outage_patience_s)),
    )


def supernode_options(settings: SiteSettings) -> tuple[str, ...]:
    """Flower's options for the node."""
    return (
        *("--superlink", settings.hub),
        *("--root-certificates", str(settings.ca)),
        *("--auth-supernode-private-key", str(settings.key)),
        *("--node-config", str(settings.node_config_file)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(settings.executor_secret)),
        *("--host", settings.runtime.host),
        *("--port", str(settings.runtime.port)),
        *("--health-server-address", str(settings.health)),
    )


def superexec_options(settings: SiteSettings) -> tuple[str, ...]:
    """Flower's options for the executor."""
    return (
        *("--runtime-api-address", str(settings.runtime)),
        "--insecure",  # loopback only, and behind the secret
        *("--superexec-auth-secret-file", str(settings.executor_secret)),
        *("--health-server-address", str(settings.executor_health)),
    )


def run_site(settings: SiteSettings, say: Callable[[str], None]) -> bool:
    """Run the site until somebody ends it.

    Args:
        settings: The hospital's.
        say: Prints a line.

    Returns:
        True after an orderly end, False if its programs kept ending by themselves.

    Raises:
        ConfigError: If it cannot start.
    """
    os.umask(0o077)
    make_private_folder(settings.state_dir)
    with run_lock(settings.state_dir):
        for warning in check_site(settings, ask_hub(settings), now=datetime.now(tz=UTC)):
            say(f"warning: {warning}")
        settings.workspace.mkdir(parents=True, exist_ok=True)
        make_private_folder(settings.flower_home)
        clear_leftovers(settings.flower_home, TASK_HOME_PREFIX)
        keep_secret(settings.executor_secret)
        write_node_config(settings)
        say(summary(settings))
        say(f"  signing key       {fingerprint(open_key(settings.signs_with).public)}, to be compared by telephone")
        stop = Stop()
        with ended_by_signals(stop):
            return keep_running(programs(settings, os.environ), stop, patience=PATIENCE, explain=explain)


def ask_hub(settings: SiteSettings) -> HubAnswer:
    """Call the hub once."""
    return call_hub(parse_address(settings.hub), settings.ca, clocks=Clocks(), timeout_s=HUB_TIMEOUT_S)


def write_node_config(settings: SiteSettings) -> None:
    """Write what the app is told of this site. In a file: the command line shows folders to every account."""
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.node_config().items())
    with replaced_atomically(settings.node_config_file, mode=0o600) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def explain(name: str, _code: int) -> str:
    """What a hospital does about a program that ended by itself."""
    if name != "flower-supernode":
        return "What it said stands above; the task it was running is lost, the coordinator asks again."
    return (
        "What it said stands above. Error 2004 means that the hub does not know this site's public key (ask its "
        "administrator to register the line above), or that it believed the previous process to be alive (the next "
        "start is let in). Error 2003: outage-patience-s is longer than the hub allows. 401: a clock is off by minutes."
    )
