"""Whether those who hold the CA believe a certificate: asked of OpenSSL, as the processes of a federation ask it."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from diffuse_uda.doctor.certificates import RENEW
from diffuse_uda.doctor.verdict import Verdict, failed, passed

_TURNS = 4
"""TLS 1.3 takes two turns, 1.2 three."""
_TIMES = {9, 10}
_NAMES = {62, 64}
"""OpenSSL's codes (openssl-verification-options): not yet valid, expired; host name and address mismatch."""


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """What a site believes: the federation's CA alone, or, without one, those this machine trusts anyway.

    Raises:
        OSError: If the file cannot be read or holds no certificate (`ssl.SSLError` is an `OSError`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context


def judge_trust(certificate_file: Path, key_file: Path, ca_file: Path, host: str | None) -> Verdict:
    """Whoever holds the CA believes the certificate, by a handshake in memory.

    Args:
        certificate_file: The hub's certificate, then those between it and the CA.
        key_file: Its key.
        ca_file: What the sites hold.
        host: Name or address by which sites reach the hub; None checks the chain alone.
    """
    as_whom = "" if host is None else f" as {host}"
    wanted = f"a certificate that whoever holds the CA accepts{as_whom}"
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate_file, key_file, password=b"")  # never ask on the terminal
        client = client_context(ca_file)
        client.check_hostname = host is not None
        _shake_hands(server, client, host)
    except ssl.SSLCertVerificationError as error:
        return failed("certificate trust", error.verify_message, wanted, fix_of(error.verify_code))
    except (OSError, ValueError) as error:
        found = f"unusable together ({getattr(error, 'reason', None) or type(error).__name__})"
        return failed("certificate trust", found, wanted, "check that --ca, --cert and --key are PEM files of one CA")
    return passed("certificate trust", f"accepted{as_whom}", wanted)


def fix_of(verify_code: int) -> str:
    """What to do about a certificate that OpenSSL refuses.

    Args:
        verify_code: As in `ssl.SSLCertVerificationError`.
    """
    if verify_code in _TIMES:
        return f"check both clocks, then {RENEW}"
    if verify_code in _NAMES:
        return "use the name that the certificate holds, or have it issued with this one as subject alternative name"
    return (
        "this certificate is from another CA: another federation answers, the CA file is an old one, or a proxy or "
        "virus scanner of this network opens TLS; compare the CA's fingerprint with the coordinator by telephone"
    )


def chain_above(leaf: x509.Certificate, known: list[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf and those known certificates that stand above it, as far as they lead."""
    path = [leaf]
    while (above := next((one for one in known if one not in path and _issued(one, path[-1])), None)) is not None:
        path.append(above)
    return path


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str | None) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_TURNS):
        done = [_turn(side) for side in (asking, answering)]
        if all(done):
            return
    msg = "the handshake did not end"
    raise ssl.SSLError(msg)


def _turn(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _issued(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
