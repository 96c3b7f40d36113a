"""Certificates and keys of a trial federation, made on one machine. A hospital's CA and `ssh-keygen` do the same."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from diffuse_uda.errors import ConfigError

MOST_DAYS = 825
"""What common TLS libraries accept of a server's certificate."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hub's own executor calls it by these."""
_CLOCK_SLACK = timedelta(minutes=10)
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What a trial federation needs certificates and keys for."""

    hub_names: tuple[str, ...]
    """DNS names and IP addresses by which sites reach the hub."""
    site_ids: tuple[str, ...]
    days: int
    """How long the certificates are valid."""

    def __post_init__(self) -> None:
        """Refuse what could not be used.

        Raises:
            ConfigError: If there is no hub name or site, a name means nothing or stands twice, or days are too many.
        """
        wrong = [name for name in self.hub_names if _address(name) is None and not _DNS_NAME.fullmatch(name)]
        wrong += [site for site in self.site_ids if not _SITE_ID.fullmatch(site)]
        if wrong or not self.hub_names or not self.site_ids:
            msg = f"found the names {wrong}; wanted at least one --hub-name (host name or IP address) and one --site"
            raise ConfigError(msg)
        if len(set(self.site_ids)) != len(self.site_ids):
            msg = f"found the sites {list(self.site_ids)}; wanted every site once"
            raise ConfigError(msg)
        if not 1 <= self.days <= MOST_DAYS:
            msg = f"found {self.days} days; wanted 1 to {MOST_DAYS}"
            raise ConfigError(msg)


def write_trial(out: Path, trial: Trial, *, now: datetime) -> list[Path]:
    """Write a CA, a hub's certificate and a key for every site, one folder for each who gets it.

    `ca/` stays with the coordinator, `hub/` goes to the hub, `sites/<site>/` to the site; the CA's certificate is in
    all of them. A site's `.pub` is what the hub registers.

    Args:
        out: Folder; it must not hold a federation yet.
        trial: For whom.
        now: With a time zone.

    Returns:
        The files, private keys with mode 0600.

    Raises:
        ConfigError: If a file is there already: keys in use are never overwritten.
    """
    contents = _contents(trial, now)
    if there := sorted(name for name in contents if (out / name).exists()):
        msg = f"{out} holds {', '.join(there)} already; wanted a new folder: keys in use are not overwritten"
        raise ConfigError(msg)
    written = []
    for name, content in contents.items():
        path = out / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = 0o600 if name.endswith(".key") else 0o644
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        written.append(path)
    return written


def _contents(trial: Trial, now: datetime) -> dict[str, bytes]:
    ca_key, hub_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Federated Diffuse-UDA trial CA")])
    first, last = now - _CLOCK_SLACK, now + timedelta(days=trial.days)
    authority = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), first, last)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    hub_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, trial.hub_names[0][:64])])
    hub = (
        _builder(hub_name, ca_name, hub_key.public_key(), first, last)
        .add_extension(x509.SubjectAlternativeName(_general_names(trial.hub_names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(hub_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    ca_pem = ca.public_bytes(Encoding.PEM)
    contents = {
        "ca/ca.key": _pem(ca_key),
        "ca/ca.pem": ca_pem,
        "hub/ca.pem": ca_pem,
        "hub/hub.key": _pem(hub_key),
        "hub/hub.pem": hub.public_bytes(Encoding.PEM),
    }
    for site_id in trial.site_ids:
        key = ec.generate_private_key(ec.SECP384R1())
        folder = f"sites/{site_id}"
        contents[f"{folder}/ca.pem"] = ca_pem
        contents[f"{folder}/{site_id}.key"] = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        contents[f"{folder}/{site_id}.pub"] = public + f" {site_id}\n".encode("ascii")
    return contents


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, first: datetime, last: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
    )


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    unique = dict.fromkeys((*names, *_LOOPBACK))
    return [x509.DNSName(name) if (address := _address(name)) is None else x509.IPAddress(address) for name in unique]


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
