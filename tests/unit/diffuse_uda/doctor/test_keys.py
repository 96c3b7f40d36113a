"""Keys: nobody else may read them, and Flower must be able to."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from diffuse_uda.doctor.keys import (
    KeyFile,
    PrivateKey,
    UnusableKey,
    judge_key_file,
    judge_site_key,
    observe_key_file,
    read_key,
)
from diffuse_uda.doctor.verdict import Status

PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL


@pytest.mark.parametrize(
    ("mode", "owner", "account", "status"),
    [
        (0o600, 1000, 1000, PASS),
        (0o400, 1000, 1000, PASS),
        (0o700, 1000, 1000, WARN),
        (0o600, 1000, 0, WARN),
        (0o600, 1000, 1001, FAIL),
        (0o640, 1000, 1000, FAIL),
        (0o604, 1000, 1000, FAIL),
    ],
)
def test_the_owner_alone_may_read(mode: int, owner: int, account: int, status: Status) -> None:
    assert judge_key_file(Path("node.key"), KeyFile(mode=mode, owner=owner, account=account)).status is status


def test_a_file_is_seen_as_the_disk_shows_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    assert observe_key_file(key) is None
    assert judge_key_file(key, None).status is FAIL
    key.write_text("x")
    key.chmod(0o640)
    assert observe_key_file(key) == KeyFile(mode=0o640, owner=os.geteuid(), account=os.geteuid())


def written(path: Path, key: PrivateKey, form: PrivateFormat) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return path


def locked_openssh_key() -> bytes:
    """What ssh-keygen writes for a key with a passphrase (PROTOCOL.key); the locked part is noise."""
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    blob = base64.b64decode(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])

    def text(part: bytes) -> bytes:
        return struct.pack(">I", len(part)) + part

    options = text(bytes(16)) + struct.pack(">I", 16)
    body = text(b"aes256-ctr") + text(b"bcrypt") + text(options) + struct.pack(">I", 1) + text(blob) + text(bytes(64))
    lines = base64.encodebytes(b"openssh-key-v1\0" + body)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + lines + b"-----END OPENSSH PRIVATE KEY-----\n"


def locked_pem_key() -> bytes:
    private = ec.generate_private_key(ec.SECP384R1())
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("key", "form", "status", "words"),
    [
        (ec.generate_private_key(ec.SECP384R1()), PrivateFormat.OpenSSH, PASS, "node key, curve secp384r1"),
        (ec.generate_private_key(ec.SECP256R1()), PrivateFormat.OpenSSH, WARN, "secp256r1 in OpenSSH form"),
        (ec.generate_private_key(ec.SECP384R1()), PrivateFormat.PKCS8, FAIL, "secp384r1 in PEM form"),
        (ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8, PASS, "signing key, Ed25519"),
        (ed25519.Ed25519PrivateKey.generate(), PrivateFormat.OpenSSH, FAIL, "Ed25519PrivateKey in OpenSSH form"),
        (rsa.generate_private_key(65537, 2048), PrivateFormat.PKCS8, FAIL, "RSAPrivateKey in PEM form"),
    ],
)
def test_a_site_has_a_node_key_and_a_signing_key(
    key: PrivateKey, form: PrivateFormat, status: Status, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "key", key, form)
    line = judge_site_key(path, read_key(path))
    assert line.status is status
    assert words in line.found


@pytest.mark.parametrize("make", [locked_openssh_key, locked_pem_key])
def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(make())
    assert read_key(path) == UnusableKey(reason="protected by a passphrase")
    assert judge_site_key(path, read_key(path)).status is FAIL


def test_what_is_no_key_is_said_without_a_traceback(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    assert read_key(garbage) == UnusableKey(reason="no private key in PEM or OpenSSH form")
    garbage.write_bytes(b"\x00\x01")
    assert read_key(garbage) == UnusableKey(reason="no private key in PEM or OpenSSH form")
    missing = read_key(tmp_path / "missing")
    assert missing == UnusableKey(reason="cannot be read (No such file or directory)")
