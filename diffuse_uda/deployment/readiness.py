"""Whether a service can start: the doctor's verdicts on its files and ports, and a refusal that names every failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.certificates import fingerprint, judge_dates, judge_key_match, judge_names, read_certificates
from diffuse_uda.doctor.clock import judge_skew
from diffuse_uda.doctor.grpc_health import SERVING, probe_health
from diffuse_uda.doctor.hub import HubAnswer
from diffuse_uda.doctor.hub_verdicts import Expected, judge_federation, judge_reachable, judge_tls
from diffuse_uda.doctor.keys import judge_key_file, observe_key_file, read_key
from diffuse_uda.doctor.ports import judge_port, try_to_listen
from diffuse_uda.doctor.trust import judge_trust
from diffuse_uda.doctor.verdict import Status, Verdict, failed
from diffuse_uda.errors import ConfigError

_PAUSE_S = 0.5


def server_verdicts(certificate: Path, key: Path, ca: Path, *, host: str, now: datetime) -> list[Verdict]:
    """Judge what a hub shows to its sites.

    Args:
        certificate: PEM file, the hub's own certificate first.
        key: Its key.
        ca: What the sites hold.
        host: Name or address by which the hub's own executor reaches it.
        now: With a time zone.
    """
    files = [judge_key_file(key, observe_key_file(key))]
    chain = read_certificates(certificate)
    if isinstance(chain, str):
        wanted = "the hub's certificate in PEM form"
        return [*files, failed("certificate", f"{certificate} {chain}", wanted, "correct `certificate`")]
    return [
        *files,
        judge_dates("certificate", chain[0], now),
        judge_names(chain[0]),
        judge_key_match(chain[0], read_key(key)),
        judge_trust(certificate, key, ca, host),
        *ca_verdicts(ca, now=now),
    ]


def ca_verdicts(ca: Path, *, now: datetime) -> list[Verdict]:
    """Judge the federation's CA file."""
    known = read_certificates(ca)
    if isinstance(known, str):
        return [failed("CA", f"{ca} {known}", "the federation's CA in PEM form", "correct `ca`")]
    return [judge_dates("CA", one, now) for one in known]


def ca_fingerprint(ca: Path) -> str:
    """SHA-256 of a CA file's first certificate, to be compared by telephone; empty if there is none."""
    known = read_certificates(ca)
    return "" if isinstance(known, str) else fingerprint(known[0])


def hub_verdicts(address: Address, answer: HubAnswer, ca: Path, expected: Expected) -> list[Verdict]:
    """Judge who answered at the hub's address. Nobody there is a warning: a site waits for its hub.

    Args:
        address: Whom the site called.
        answer: What came back.
        ca: The federation's CA.
        expected: What the coordinator told on another way.
    """
    there = judge_reachable(address, answer)
    if there.status is Status.FAIL:
        return [replace(there, status=Status.WARN, fix=f"{there.fix} (the site goes on trying)")]
    believed = judge_tls(address, answer, has_ca=True)
    if believed.status is Status.FAIL:
        return [believed]
    known = read_certificates(ca)
    federation = judge_federation(answer, [] if isinstance(known, str) else known, expected)
    # The doctor speaks of its own options, which a settings file knows without their dashes.
    federation = replace(federation, fix=federation.fix.replace("--expected-", ""))
    return [believed, federation, judge_skew(answer.hub_s, answer.here_s)]


def port_verdicts(addresses: Iterable[Address]) -> list[Verdict]:
    """Judge addresses to listen on: even one of this federation's own programs is in the way of another one."""
    verdicts = [judge_port(address, try_to_listen(address)) for address in addresses]
    return [one if one.status is Status.PASS else replace(one, status=Status.FAIL) for one in verdicts]


def refuse_failures(what: str, verdicts: Sequence[Verdict]) -> list[str]:
    """Refuse to start if anything failed.

    Returns:
        Warnings, a line each.

    Raises:
        ConfigError: With every failure at once.
    """
    failures = [verdict for verdict in verdicts if verdict.status is Status.FAIL]
    if failures:
        blocks = (
            f"  {one.check}\n    found:  {one.found}\n    wanted: {one.wanted}\n    fix:    {one.fix}"
            for one in failures
        )
        msg = f"{what} cannot start:\n" + "\n".join(blocks)
        raise ConfigError(msg)
    return [f"{one.check}: {one.found}; {one.fix}" for one in verdicts if one.status is Status.WARN]


def wait_until_serving(
    services: Iterable[Address],
    *,
    wait_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[Address, str]:
    """Ask gRPC health services until all of them serve, or no time is left.

    Args:
        services: Where they listen.
        wait_s: How long to go on asking; 0 asks once.
        clock: Seconds that never run backwards.
        sleep: Waits, in seconds.

    Returns:
        Every service's last answer.
    """
    addresses = list(services)
    until = clock() + wait_s
    while True:
        answers = {address: probe_health(address, timeout_s=2.0) for address in addresses}
        if set(answers.values()) <= {SERVING} or clock() >= until:
            return answers
        sleep(_PAUSE_S)
