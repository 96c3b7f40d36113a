"""A site's signature: who says so, in which round of which run, about which weights, in answer to which.

Ed25519 (RFC 8032) from `cryptography`. The private key is made at the site and stays there; the public one travels with
every message, and the server pins it when the site introduces itself. Signatures are deterministic: the same words give
the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from diffuse_uda.data.atomic import flush_to_disk, make_folder
from diffuse_uda.errors import ConfigError

SCHEME = "diffuse-uda-ed25519-1"
"""Part of what is signed, so that a signature means nothing anywhere else."""


class MessageKind(StrEnum):
    """What a site's message is."""

    CARD = "card"
    """Its introduction; it says who the public key belongs to."""
    REPLY = "reply"
    """The result of an order."""
    REFUSAL = "refusal"
    """A failed or refused order, in sealed words."""


class Verdict(StrEnum):
    """Why the server does not take a site's message."""

    UNSIGNED = "unsigned"
    """It bears no signature."""
    UNKNOWN_KEY = "unknown-key"
    """Its key is not the one with which the site introduced itself."""
    BAD_SIGNATURE = "bad-signature"
    """It says something else than what was signed."""
    OTHER_RUN = "other-run"
    """It was signed for another run."""
    REPLAYED = "replayed"
    """It was signed for another round, or its round has its answer already."""
    WRONG_BASE = "wrong-base"
    """It was made from other weights than those that were sent."""
    NOT_SEALED = "not-sealed"
    """Words about a failure that a site of this program does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What a site puts its name to; every field is part of the signed bytes."""

    kind: MessageKind
    run: str
    """Identifier of the run, chosen by its server."""
    site_id: str
    phase: str = ""
    """Label of the phase; empty for a card and a refusal."""
    server_round: int = 0
    """Round within the phase, from 1; 0 for a card and a refusal."""
    base: str = ""
    """SHA-256 (hex) of the weights the site received; of the whole order for a refusal; empty for a card."""
    payload: str
    """SHA-256 (hex) of everything the message says."""

    def to_bytes(self) -> bytes:
        """The bytes that are signed: JSON with sorted keys, without spaces, in ASCII."""
        return json.dumps({"scheme": SCHEME, **asdict(self)}, sort_keys=True, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site's private key, in memory."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The public key: 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    def sign(self, statement: Statement) -> bytes:
        """Sign a statement: 64 bytes."""
        return self.private.sign(statement.to_bytes())


def make_key() -> SiteKey:
    """Make a key that is on no disk."""
    return SiteKey(Ed25519PrivateKey.generate())


def is_signed_by(public: bytes, signature: bytes, statement: Statement) -> bool:
    """Whether the owner of a public key signed this very statement."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, statement.to_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public: bytes) -> str:
    """Short name of a public key, to be compared over the telephone: as OpenSSH writes its own."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def open_key(path: Path) -> SiteKey:
    """Read a site's key; at the very first start, make it.

    Two processes that start at once end with the same key.

    Args:
        path: PEM file (PKCS 8) that only its owner may read (0600). Its folder is made if missing.

    Raises:
        ConfigError: If the file is no regular file, may be read by others, or holds no Ed25519 key.
    """
    if not os.path.lexists(path):
        _write_new_key(path)
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        msg = f"signing key {path}: found something that is no regular file; wanted the key itself, no link"
        raise ConfigError(msg)
    if status.st_mode & 0o077:
        found = stat.filemode(status.st_mode)
        msg = f"signing key {path}: found permissions {found}, wanted -rw-------; run `chmod 600 {path}`"
        raise ConfigError(msg)
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"signing key {path}: {type(error).__name__}; wanted an Ed25519 key in PEM form without a password"
        raise ConfigError(msg) from None
    if not isinstance(private, Ed25519PrivateKey):
        msg = f"signing key {path}: found a {type(private).__name__}, wanted an Ed25519 key"
        raise ConfigError(msg)
    return SiteKey(private)


def _write_new_key(path: Path) -> None:
    make_folder(path.parent)
    pem = make_key().private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # mkstemp makes files that only the owner may read.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # never replaces: whoever comes second takes the key of the first
            flush_to_disk(path.parent)  # a server pins it: it must not be gone after a loss of power
        except FileExistsError:
            return
    finally:
        Path(draft).unlink()
