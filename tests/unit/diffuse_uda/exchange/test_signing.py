"""A signature fits one statement and one key, and a key fits one owner."""

from __future__ import annotations

import stat
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.signing import (
    MessageKind,
    SiteKey,
    Statement,
    fingerprint,
    is_signed_by,
    make_key,
    open_key,
)

STATEMENT = Statement(
    kind=MessageKind.REPLY, run="r1", site_id="leeds", phase="adapt", server_round=2, base="b" * 64, payload="p" * 64
)
KEY = SiteKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_what_is_signed_can_be_read() -> None:
    assert STATEMENT.to_bytes() == (
        b'{"base":"' + b"b" * 64 + b'","kind":"reply","payload":"' + b"p" * 64 + b'","phase":"adapt","run":"r1",'
        b'"scheme":"diffuse-uda-ed25519-1","server_round":2,"site_id":"leeds"}'
    )


def test_a_signature_is_checked_with_the_public_key_alone_and_is_the_same_every_time() -> None:
    signature = KEY.sign(STATEMENT)
    assert len(signature) == 64
    assert signature == KEY.sign(STATEMENT)
    assert is_signed_by(KEY.public, signature, STATEMENT)
    assert not is_signed_by(make_key().public, signature, STATEMENT)


@pytest.mark.parametrize("name", [field.name for field in fields(Statement)])
def test_every_part_of_a_statement_is_signed(name: str) -> None:
    changed: dict[str, object] = {"kind": MessageKind.REFUSAL, "server_round": 3}
    other = replace(STATEMENT, **{name: changed.get(name, "other")})  # type: ignore[arg-type]
    assert not is_signed_by(KEY.public, KEY.sign(STATEMENT), other)


@pytest.mark.parametrize("public", [b"", b"short", bytes(33)])
def test_a_key_that_is_none_signs_nothing(public: bytes) -> None:
    assert not is_signed_by(public, KEY.sign(STATEMENT), STATEMENT)
    assert not is_signed_by(KEY.public, b"", STATEMENT)


def test_the_first_start_makes_a_key_that_only_its_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    key = open_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_key(path).public == key.public
    assert open_key(tmp_path / "other.pem").public != key.public
    assert [file.name for file in path.parent.iterdir()] == ["key.pem"]


def test_starts_at_the_same_time_end_with_one_key(tmp_path: Path) -> None:
    publics: list[bytes] = []
    threads = [threading.Thread(target=lambda: publics.append(open_key(tmp_path / "key.pem").public)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(publics) == 8
    assert len(set(publics)) == 1


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    open_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"found permissions -rw-r-----, wanted -rw-------; run `chmod 600"):
        open_key(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    open_key(tmp_path / "key.pem")
    (tmp_path / "link.pem").symlink_to(tmp_path / "key.pem")
    (tmp_path / "dangling.pem").symlink_to(tmp_path / "nowhere.pem")
    for name in ("link.pem", "dangling.pem"):
        with pytest.raises(ConfigError, match="no regular file"):
            open_key(tmp_path / name)
    assert not (tmp_path / "nowhere.pem").exists()


def _pem(private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    locked = BestAvailableEncryption(password) if password else NoEncryption()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ValueError"),
        (b"not a key", "ValueError"),
        (_pem(make_key().private, b"secret"), "without a password"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "wanted an Ed25519 key"),
    ],
    ids=["empty", "text", "locked", "another kind"],
)
def test_a_file_that_holds_no_usable_key_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="signing key") as caught:
        open_key(path)
    assert said in str(caught.value)


def test_fingerprints_are_written_as_openssh_writes_them() -> None:
    assert fingerprint(bytes(32)) == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"
