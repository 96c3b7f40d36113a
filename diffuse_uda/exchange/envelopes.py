"""What is around a message: which run and plan an order belongs to, whose signature a reply bears, what both hash to.

A content's hash is taken over what it says, record by record, whatever the transport makes of it; the bytes that really
travel are in `wire_bytes`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange.signing import MessageKind, SiteKey, Statement

Content = RecordDict
"""Records of a message; code that knows no Flower passes them on under this name."""


def _installed() -> str:
    try:
        return version("diffuse-uda")
    except PackageNotFoundError:  # a checkout that is only looked at
        return "not installed"


VERSION = _installed()
"""Of this program; server and sites of a run have the same."""
MOST_FALL_BACKS = 3
"""How often a coordinator may go back behind finished rounds in one run: a damaged checkpoint is rare, and each time
gives it answers to rounds that were answered before, on other weights."""
ENVELOPE = "envelope"
SIGNATURE = "signature"
BASE_RECORDS = ("weights", "weights-layout")
"""The records of an order that a reply's base hash is about."""

_MARK = "\nsigned "
_LONGEST = 256
"""Characters or bytes of one field of a signature: whoever refuses a message writes down what it says about itself."""
_FIELDS = {
    "site-id": "site_id",
    "run": "run",
    "phase": "phase",
    "server-round": "server_round",
    "base": "base",
    "public-key": "public_key",
    "signature": "signature",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What every letter of the server bears."""

    run: str
    """Identifier of the run: the same after a restart of the server."""
    plan: str
    """Hash of the study's configuration as the server has it (`plan_hash`)."""
    fall_backs: int = 0
    """How often the run has gone back behind rounds that were done, because their checkpoint was damaged."""
    version: str = VERSION
    """Of the server's program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What every message of a site bears: a statement as the site made it, but for what it can be seen to be about."""

    site_id: str
    run: str
    phase: str
    server_round: int
    base: str
    public_key: bytes
    signature: bytes

    def statement(self, kind: MessageKind, payload: str) -> Statement:
        """What was signed, if the message is of this kind and hashes to this payload."""
        return Statement(
            kind=kind,
            run=self.run,
            site_id=self.site_id,
            phase=self.phase,
            server_round=self.server_round,
            base=self.base,
            payload=payload,
        )


def in_envelope(content: RecordDict, envelope: Envelope) -> RecordDict:
    """The same records, which are shared, beside an envelope."""
    record = ConfigRecord(
        {
            "run": envelope.run,
            "plan": envelope.plan,
            "fall-backs": envelope.fall_backs,
            "version": envelope.version,
        }
    )
    return RecordDict({**content, ENVELOPE: record})


def take_envelope(content: RecordDict) -> Envelope:
    """Take the envelope off a message.

    Raises:
        RefusalError: If there is none, or it is not what an envelope looks like.
    """
    record = content.pop(ENVELOPE, None)
    said = dict(record.items()) if isinstance(record, ConfigRecord) else {}
    run, plan, fall_backs, sender = (said.pop(key, None) for key in ("run", "plan", "fall-backs", "version"))
    if (
        not isinstance(run, str)
        or not isinstance(plan, str)
        or not isinstance(sender, str)
        or type(fall_backs) is not int
        or said
    ):
        broken = [("no-envelope", f"found no run, plan and version beside it; is the server of version {VERSION}?")]
        raise RefusalError("order refused", broken)
    return Envelope(run=run, plan=plan, fall_backs=fall_backs, version=sender)


def signed(content: RecordDict, statement: Statement, key: SiteKey) -> RecordDict:
    """The same records, which are shared, beside a signature of the statement."""
    said = _signature(statement, key)
    record = ConfigRecord({name: getattr(said, field) for name, field in _FIELDS.items()})
    return RecordDict({**content, SIGNATURE: record})


def take_signature(content: RecordDict) -> Signature | None:
    """Take the signature off a message; None if it bears none, or nothing that looks like one."""
    record = content.pop(SIGNATURE, None)
    return _read_signature(dict(record.items())) if isinstance(record, ConfigRecord) else None


def signed_words(words: str, statement: Statement, key: SiteKey) -> str:
    """An error's sealed words with a signature behind them: an error of Flower has no records, only a text."""
    said = _signature(statement, key)
    proof = {name: getattr(said, field) for name, field in _FIELDS.items()}
    text = json.dumps({name: value.hex() if isinstance(value, bytes) else value for name, value in proof.items()})
    return words + _MARK + base64.b64encode(text.encode()).decode()


def split_words(text: str) -> tuple[str, Signature | None]:
    """Words of an error and their signature; None if there is none, or nothing that looks like one."""
    words, mark, proof = text.partition(_MARK)
    if not mark:
        return text, None
    try:
        said = json.loads(base64.b64decode(proof, validate=True))
        return words, _read_signature(said | {name: bytes.fromhex(said[name]) for name in ("public-key", "signature")})
    except (ValueError, TypeError, KeyError):
        return words, None


def words_digest(words: str) -> str:
    """SHA-256 (hex) of an error's words."""
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()


def _signature(statement: Statement, key: SiteKey) -> Signature:
    return Signature(
        site_id=statement.site_id,
        run=statement.run,
        phase=statement.phase,
        server_round=statement.server_round,
        base=statement.base,
        public_key=key.public,
        signature=key.sign(statement),
    )


def _read_signature(said: Mapping[str, Any]) -> Signature | None:
    values: dict[str, Any] = {field: said.get(name) for name, field in _FIELDS.items()}
    wanted = {"server_round": int, "public_key": bytes, "signature": bytes}
    if any(type(value) is not wanted.get(field, str) for field, value in values.items()):
        return None
    if any(isinstance(value, str | bytes) and len(value) > _LONGEST for value in values.values()):
        return None
    return Signature(**values)


def record_digest(record: ArrayRecord | ConfigRecord | MetricRecord) -> str:
    """SHA-256 (hex) of a record: kind, keys and typed values, whatever the order of the keys; buffers by their own."""
    said = {key: _said(value) for key, value in record.items()}
    return _digest({"kind": type(record).__name__, "said": said})


def digests(content: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 (hex) of every record of a content."""
    return {name: record_digest(record) for name, record in content.items()}


def content_digest(records: Mapping[str, str]) -> str:
    """SHA-256 (hex) of a whole content, from the hashes of its records."""
    return _digest(dict(records))


def base_digest(records: Mapping[str, str]) -> str:
    """SHA-256 (hex) of the weights in a content, from the hashes of its records; what a reply's base hash is."""
    return _digest({name: records[name] for name in BASE_RECORDS if name in records})


def place_of(content: RecordDict) -> tuple[str, int]:
    """Phase and round of an order that this program wrote; nothing and 0 for anything else."""
    record = content.get("order")
    phase, number = (record.get("phase"), record.get("server-round")) if isinstance(record, ConfigRecord) else ("", 0)
    return (phase, number) if isinstance(phase, str) and isinstance(number, int) else ("", 0)


def name_in(content: RecordDict) -> object:
    """The site id in a card, whatever it is."""
    record = content.get("card")
    return record.get("site-id") if isinstance(record, ConfigRecord) else None


def wire_bytes(content: RecordDict) -> bytes:
    """The very bytes that Flower sends for a content: every object of it, parents first."""
    return b"".join(_objects(content))


def _objects(node: Any) -> Iterator[bytes]:  # noqa: ANN401 - Flower's base class of records, arrays and chunks is private
    yield node.deflate()
    for child in (node.children or {}).values():
        yield from _objects(child)


def _said(value: object) -> list[object]:
    if isinstance(value, Array):
        return ["array", value.dtype, list(value.shape), value.stype, _buffer_digest(value)]
    if isinstance(value, list):
        return ["list", *map(_said, value)]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, float):
        return ["float", value.hex()]
    return [type(value).__name__, value]


_known: dict[int, tuple[weakref.ref[Array], int, str]] = {}
"""Hashes of buffers that still exist, by identity: one model goes to all sites, and is hashed once."""


def _buffer_digest(array: Array) -> str:
    place, data = id(array), array.data
    known = _known.get(place)
    if known is not None and known[0]() is array and known[1] == id(data):
        return known[2]
    digest = hashlib.sha256(data).hexdigest()
    _known[place] = (weakref.ref(array, lambda _gone: _known.pop(place, None)), id(data), digest)
    return digest


def _digest(said: object) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
