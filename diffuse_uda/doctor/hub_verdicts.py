"""What the hub's answer means."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from cryptography import x509

from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.certificates import fingerprint, is_fingerprint, same_fingerprint
from diffuse_uda.doctor.hub import PATH, HubAnswer, Obstacle
from diffuse_uda.doctor.trust import chain_above
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

SLOW_S = 2.0

_NOT_THERE = {
    Obstacle.UNKNOWN_NAME: "correct the name, or ask who runs this network's DNS",
    Obstacle.NO_ROUTE: "check cable, VPN and firewall: this machine must be able to call the hub's port, nothing more",
    Obstacle.CLOSED: "is the hub running, is the port right, does a firewall refuse it?",
    Obstacle.SILENT: "a firewall drops the packets, or something else listens: allow outbound TCP to the hub",
}
_NOT_TLS = {
    Obstacle.UNUSABLE_CA: "give --ca the CA file that came from the coordinator (PEM)",
    Obstacle.NO_TLS: (
        "whoever listens speaks no TLS, or something between ends it: correct the port, start the hub with its "
        "certificate, or have the proxy pass TLS through"
    ),
    Obstacle.NO_HTTP: "something else than a hub listens there: correct address and port",
}


def judge_reachable(address: Address, answer: HubAnswer) -> Verdict:
    """Somebody listens."""
    wanted = "somebody who answers"
    if answer.obstacle in _NOT_THERE:
        return failed("hub", f"{address}: {answer.detail}", wanted, _NOT_THERE[answer.obstacle])
    return passed("hub", f"{address}: reached", wanted)


def judge_tls(address: Address, answer: HubAnswer, *, has_ca: bool) -> Verdict:
    """The hub speaks TLS, and its certificate is believed for this very name.

    Args:
        address: Whom this machine called.
        answer: What came back, from somebody who is there.
        has_ca: Whether the federation's CA was given.
    """
    wanted = f"TLS with a certificate for {address.host} from the CA in --ca"
    if answer.obstacle is Obstacle.NOT_BELIEVED:
        who = "" if answer.certificate is None else f"; who answers shows SHA-256 {fingerprint(answer.certificate)}"
        return failed("hub TLS", f"{answer.detail}{who}", wanted, answer.fix)
    if answer.obstacle in _NOT_TLS:
        return failed("hub TLS", answer.detail, wanted, _NOT_TLS[answer.obstacle])
    if not has_ca:
        fix = "give --ca the federation's CA file: any public CA may certify any name"
        return warned("hub TLS", "believed by way of this machine's own list of CAs", wanted, fix)
    return passed("hub TLS", f"believed for {address.host}", wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the coordinator told of the federation on another way than this connection."""

    fingerprint: str | None = None
    """SHA-256 of the CA's certificate, or of the hub's."""
    federation: str | None = None
    """What the hub calls its federation."""


def judge_federation(answer: HubAnswer, known: list[x509.Certificate], expected: Expected) -> Verdict:
    """The right federation answered: by name, and by the certificate of the hub or of the CA above it.

    Args:
        answer: From a hub that was believed.
        known: Certificates of the CA file.
        expected: What was told beforehand.
    """
    wanted = "the federation's name, and the fingerprint of its CA or hub, as the coordinator told them"
    if answer.certificate is None or answer.obstacle is not None:
        return failed("federation", "nobody was believed", wanted, "mend the lines above first")
    chain = chain_above(answer.certificate, known)
    shown = f"{answer.federation or 'no name'}, SHA-256 {', issued by '.join(fingerprint(one) for one in chain)}"
    wrong = []
    if expected.federation is not None and answer.federation != expected.federation:
        wrong.append(f"expected the name {expected.federation}")
    if expected.fingerprint is not None and not is_fingerprint(expected.fingerprint):
        fix = "copy it from `openssl x509 -noout -fingerprint -sha256 -in ca.pem` at the coordinator"
        return failed("federation", "--expected-fingerprint is no SHA-256 fingerprint (64 hex digits)", wanted, fix)
    if expected.fingerprint is not None and not any(
        same_fingerprint(fingerprint(one), expected.fingerprint) for one in chain
    ):
        wrong.append(f"expected the fingerprint {expected.fingerprint}")
    if wrong:
        fix = "do not join: another federation answers; ask the coordinator which CA and address are right"
        return failed("federation", f"{shown}; {', '.join(wrong)}", wanted, fix)
    if expected.fingerprint is None:
        fix = "compare it with the coordinator by telephone and give it as --expected-fingerprint from then on"
        return warned("federation", f"{shown}; nothing to compare the fingerprint with", wanted, fix)
    return passed("federation", f"{answer.federation or 'no name'}, with the expected fingerprint", wanted)


def judge_health(answer: HubAnswer) -> Verdict:
    """The hub says that it is well, and soon."""
    wanted = f"HTTP 200 at {PATH} within {SLOW_S:g} s"
    if answer.status is None:
        return failed("hub health", "no answer", wanted, "mend the lines above first")
    found = f"HTTP {answer.status} after {answer.took_s:.2f} s"
    if answer.status != HTTPStatus.OK:
        fix = "something else than a hub answers, or a gate before it hides the path: correct address and port"
        return failed("hub health", found, wanted, fix)
    if answer.took_s > SLOW_S:
        return warned("hub health", found, wanted, "look at the hub's load and at the line to it")
    return passed("hub health", found, wanted)
