"""Who answers at the hub's address: reachable, over TLS, believed, the right federation, and well."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509

from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.clock import Clocks
from diffuse_uda.doctor.trust import client_context, fix_of

PATH = "/health"
FEDERATION_HEADER = "X-Diffuse-UDA-Federation"
"""In which the hub's gate says whose hub it is."""
_MOST_BYTES = 4096


class Obstacle(StrEnum):
    """What ended the conversation."""

    UNKNOWN_NAME = "unknown-name"
    NO_ROUTE = "no-route"
    CLOSED = "closed"
    SILENT = "silent"
    NO_TLS = "no-tls"
    NOT_BELIEVED = "not-believed"
    NO_HTTP = "no-http"
    UNUSABLE_CA = "unusable-ca"


@dataclass(frozen=True, kw_only=True, slots=True)
class HubAnswer:
    """What happened when this machine called the hub; what came after an obstacle is None."""

    obstacle: Obstacle | None = None
    detail: str = ""
    """OpenSSL's or the system's short word on the obstacle."""
    fix: str = ""
    """What to do, where OpenSSL's code tells."""
    certificate: x509.Certificate | None = None
    """Whoever answered; also when it was not believed."""
    status: int | None = None
    """HTTP status of the health path."""
    federation: str | None = None
    """What the hub calls its federation."""
    hub_s: float | None = None
    """Time in the answer, seconds since 1970."""
    here_s: float = 0.0
    """This machine's time at the middle of the question."""
    took_s: float = 0.0
    """From question to answer, without connection and handshake."""


def call_hub(address: Address, ca_file: Path | None, *, clocks: Clocks, timeout_s: float) -> HubAnswer:
    """Ask for the hub's health over TLS, without any proxy.

    Args:
        address: Where the hub should be.
        ca_file: The federation's CA; None believes whom this machine believes.
        clocks: This machine's.
        timeout_s: For every step of the conversation.
    """
    try:
        context = client_context(ca_file)
    except OSError as error:
        return HubAnswer(obstacle=Obstacle.UNUSABLE_CA, detail=_word(error))
    connection = http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)
    try:
        connection.connect()
    except OSError as error:
        return _obstructed(error, address, timeout_s)
    try:
        certificate = _shown(connection.sock)
        before, started = clocks.wall_s(), clocks.monotonic_s()
        connection.request("GET", PATH, headers={"Connection": "close"})
        response = connection.getresponse()
        after, took = clocks.wall_s(), clocks.monotonic_s() - started
        response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return HubAnswer(obstacle=Obstacle.NO_HTTP, detail=_word(error))
    finally:
        connection.close()
    return HubAnswer(
        certificate=certificate,
        status=response.status,
        federation=response.getheader(FEDERATION_HEADER),
        hub_s=_seconds(response.getheader("Date")),
        here_s=(before + after) / 2,
        took_s=took,
    )


def _obstructed(error: OSError, address: Address, timeout_s: float) -> HubAnswer:
    if isinstance(error, ssl.SSLCertVerificationError):
        return HubAnswer(
            obstacle=Obstacle.NOT_BELIEVED,
            detail=error.verify_message,
            fix=fix_of(error.verify_code),
            certificate=_whoever_answers(address, timeout_s),
        )
    if isinstance(error, TimeoutError):
        return HubAnswer(obstacle=Obstacle.SILENT, detail=f"no answer within {timeout_s:g} s")
    if isinstance(error, socket.gaierror):
        return HubAnswer(obstacle=Obstacle.UNKNOWN_NAME, detail=_word(error))
    if isinstance(error, ConnectionRefusedError):
        return HubAnswer(obstacle=Obstacle.CLOSED, detail=_word(error))
    if isinstance(error, (ssl.SSLError, ConnectionError)):
        return HubAnswer(obstacle=Obstacle.NO_TLS, detail=_word(error))
    return HubAnswer(obstacle=Obstacle.NO_ROUTE, detail=_word(error))


def _whoever_answers(address: Address, timeout_s: float) -> x509.Certificate | None:
    """The certificate of a peer that nobody believes, to be shown and for nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=address.host) as secured,
        ):
            return _shown(secured)
    except (OSError, ValueError):
        return None


def _shown(connected: ssl.SSLSocket) -> x509.Certificate | None:
    encoded = connected.getpeercert(binary_form=True)
    return None if encoded is None else x509.load_der_x509_certificate(encoded)


def _seconds(date: str | None) -> float | None:
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _word(error: BaseException) -> str:
    """OpenSSL's reason, or the system's word for an error number, or its kind; never a path."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "TLS error")
    return str(getattr(error, "strerror", None) or type(error).__name__)
