"""Private keys: who may read them, and whether Flower can."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes

from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

PrivateKey = PrivateKeyTypes | SSHPrivateKeyTypes
_SSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFile:
    """A key's file, as the disk shows it."""

    mode: int
    """Permission bits."""
    owner: int
    """Account number of its owner."""
    account: int
    """Account number of this process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnusableKey:
    """Why there is no key."""

    reason: str


def observe_key_file(path: Path) -> KeyFile | None:
    """Look at a file's owner and permissions, links followed; None if it isn't there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return KeyFile(mode=stat.S_IMODE(status.st_mode), owner=status.st_uid, account=os.geteuid())


def judge_key_file(path: Path, seen: KeyFile | None) -> Verdict:
    """The key belongs to this account, which alone may read it."""
    wanted = "mode 0600 or 0400, owned by the account that runs this"
    if seen is None:
        return failed("key file", f"{path}: no such file, or not for this account", wanted, "correct --key")
    found = f"{path}: mode {seen.mode:04o}, owner {seen.owner}, this account {seen.account}"
    if seen.mode & 0o077:
        fix = f"chmod 600 {path}; if others had access to this machine, make a new key and register it"
        return failed("key file", found, wanted, fix)
    if seen.owner != seen.account:
        fix = f"run the doctor as the account that runs the service, or chown the key to it: chown ACCOUNT {path}"
        return (warned if seen.account == 0 else failed)("key file", found, wanted, fix)
    if seen.mode not in {0o600, 0o400}:
        return warned("key file", found, wanted, f"chmod 600 {path}")
    return passed("key file", found, wanted)


def read_key(path: Path) -> PrivateKey | UnusableKey:
    """Read a private key, PEM or OpenSSH, without ever asking for a passphrase."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except OSError as error:
        return UnusableKey(reason=f"cannot be read ({error.strerror or type(error).__name__})")
    try:
        if content.startswith(_SSH):
            return load_ssh_private_key(content, password=None)
        return load_pem_private_key(content, password=None)
    except TypeError:  # what both loaders raise for a key with a passphrase
        return UnusableKey(reason="protected by a passphrase")
    except (ValueError, UnsupportedAlgorithm):
        return UnusableKey(reason="no private key in PEM or OpenSSH form")


def judge_site_key(path: Path, key: PrivateKey | UnusableKey) -> Verdict:
    """A site's key is one of the two it has: Flower's node key, or the one that signs what leaves."""
    wanted = "a node key (elliptic curve, OpenSSH form) or a signing key (Ed25519, PEM), without a passphrase"
    fix = (
        "make a node key with `ssh-keygen -t ecdsa -b 384 -N ''` and have the hub register its public half; the site's "
        "launcher makes the signing key"
    )
    if isinstance(key, UnusableKey):
        return failed("site key", f"{path}: {key.reason}", wanted, fix)
    is_openssh = _is_openssh(path)
    if isinstance(key, ed25519.Ed25519PrivateKey) and not is_openssh:
        return passed("site key", f"{path}: signing key, Ed25519", wanted)
    form = "OpenSSH" if is_openssh else "PEM"
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return failed("site key", f"{path}: {type(key).__name__} in {form} form", wanted, fix)
    found = f"{path}: elliptic curve {key.curve.name} in {form} form"
    if not is_openssh:
        return failed("site key", found, wanted, fix)
    if not isinstance(key.curve, ec.SECP384R1):
        fix = "Flower is tried with P-384 alone: `ssh-keygen -t ecdsa -b 384 -N ''`"
        return warned("site key", found, wanted, fix)
    return passed("site key", f"{path}: node key, curve {key.curve.name}", wanted)


def _is_openssh(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SSH)) == _SSH
