"""Certificate files: dates, names, key, fingerprint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from diffuse_uda.doctor.keys import PrivateKey, UnusableKey
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

WARN_LEFT = timedelta(days=30)
RENEW = "have it issued anew by the federation's CA; sites notice nothing as long as the CA stays"
RENEW_CA = "ask the coordinator for the new CA file: every site needs it before this one ends"
_MOST_BYTES = 10_000_000


def read_certificates(path: Path) -> list[x509.Certificate] | str:
    """Read every certificate of a PEM file, the leaf first; or say why there is none."""
    try:
        with path.open("rb") as file:
            return x509.load_pem_x509_certificates(file.read(_MOST_BYTES))
    except OSError as error:
        return f"cannot be read ({error.strerror or type(error).__name__})"
    except ValueError:
        return "holds no certificate in PEM form"


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def same_fingerprint(one: str, other: str) -> bool:
    """Compare fingerprints however they were written down: case, colons, blanks, a leading `SHA256`."""
    return _plain(one) == _plain(other)


def is_fingerprint(text: str) -> bool:
    """Whether a text is a SHA-256 fingerprint at all."""
    plain = _plain(text)
    return len(plain) == 64 and all(letter in "0123456789abcdef" for letter in plain)


def judge_dates(check: str, certificate: x509.Certificate, now: datetime) -> Verdict:
    """A certificate is valid now, and for a while.

    Args:
        check: Name on the page.
        certificate: Any certificate.
        now: With a time zone.
    """
    renew = RENEW_CA if _is_ca(certificate) else RENEW
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    wanted = f"valid now and for {WARN_LEFT.days} days"
    if now < first:
        fix = "correct this machine's clock if it is behind, else wait or have the certificate issued anew"
        return failed(check, f"not valid before {_minute(first)}", wanted, fix)
    if now > last:
        return failed(check, f"expired on {_minute(last)}", wanted, renew)
    found = f"valid until {_minute(last)}, {(last - now).days} days"
    if last - now < WARN_LEFT:
        return warned(check, found, wanted, renew)
    return passed(check, found, wanted)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def judge_key_match(certificate: x509.Certificate, key: PrivateKey | UnusableKey) -> Verdict:
    """The key is the certificate's."""
    wanted = "the private key that the certificate was made for, without a passphrase"
    fix = "give --cert and --key of one pair"
    if isinstance(key, UnusableKey):
        return failed("certificate key", f"the key is unusable: {key.reason}", wanted, fix)
    if _public_bytes(key.public_key()) != _public_bytes(certificate.public_key()):
        return failed("certificate key", "the certificate was made for another key", wanted, fix)
    return passed("certificate key", "certificate and key belong together", wanted)


def judge_names(certificate: x509.Certificate) -> Verdict:
    """The certificate names hosts as today's TLS wants them."""
    names = subject_names(certificate)
    wanted = "the hub's own name as subject alternative name (SAN); the common name counts for nothing"
    if not names:
        fix = "have the certificate issued with the hub's name as subject alternative name"
        return failed("certificate names", "no subject alternative name", wanted, fix)
    if any(name.startswith("*.") for name in names):
        fix = "name the hub itself: whoever steals a wildcard's key can play every service of the domain"
        return warned("certificate names", ", ".join(names), wanted, fix)
    return passed("certificate names", ", ".join(names), wanted)


def subject_names(certificate: x509.Certificate) -> list[str]:
    """DNS names and addresses that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    names = extension.value
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def _plain(text: str) -> str:
    return text.strip().lower().removeprefix("sha256").translate(str.maketrans("", "", ": ="))


def _public_bytes(key: object) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))  # type: ignore[attr-defined]


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
