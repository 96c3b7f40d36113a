"""What is hashed is what is said; what is signed travels with it; the bytes of the wire are the transport's own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange import envelopes
from diffuse_uda.exchange.envelopes import (
    Envelope,
    base_digest,
    content_digest,
    digests,
    in_envelope,
    name_in,
    place_of,
    record_digest,
    signed,
    signed_words,
    split_words,
    take_envelope,
    take_signature,
    wire_bytes,
    words_digest,
)
from diffuse_uda.exchange.flower import encode_card, encode_order, encode_reply, encode_weights
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.exchange.signing import MessageKind, Statement, is_signed_by, make_key
from diffuse_uda.methods.phase import Task
from tests.fake_federation import TARGET_A, order_for, tiny_weights

KEY = make_key()
STATEMENT = Statement(
    kind=MessageKind.REPLY, run="r1", site_id="leeds", phase="adapt", server_round=2, base="b", payload="p"
)


def _content() -> RecordDict:
    return encode_reply(SiteReply(num_examples=3, metrics={"loss": 0.5}, weights=tiny_weights()))


def _array(data: bytes, shape: int = 2) -> ArrayRecord:
    return ArrayRecord({"0": Array("uint8", (shape,), "raw", data)})


def test_a_hash_survives_the_transport() -> None:
    content = _content()
    for record in content.values():
        if not isinstance(record, ArrayRecord):
            assert record_digest(type(record).inflate(record.deflate())) == record_digest(record)
    array = Array("uint8", (3,), "raw", b"abc")
    chunks = {child.object_id: child for child in array.children.values()}
    assert Array.inflate(array.deflate(), children=chunks).data == b"abc"


def test_the_order_of_keys_and_records_says_nothing() -> None:
    one, other = ConfigRecord({"a": 1, "b": "2"}), ConfigRecord({"b": "2", "a": 1})
    assert record_digest(one) == record_digest(other)
    assert content_digest({"x": "1", "y": "2"}) == content_digest({"y": "2", "x": "1"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ConfigRecord({"a": 1}), ConfigRecord({"a": 1.0})),
        (ConfigRecord({"a": 1}), ConfigRecord({"a": True})),
        (ConfigRecord({"a": "1"}), ConfigRecord({"a": b"1"})),
        (ConfigRecord({"a": "1"}), ConfigRecord({"a": ["1"]})),
        (ConfigRecord({"a": [1, 2]}), ConfigRecord({"a": [2, 1]})),
        (ConfigRecord({"a": 0.5}), MetricRecord({"a": 0.5})),
        (MetricRecord({"a": 0.1 + 0.2}), MetricRecord({"a": 0.3})),
        (_array(b"ab"), _array(b"ac")),
        (_array(b"ab"), _array(b"ab", shape=3)),
        (_array(b"ab"), ArrayRecord({"1": Array("uint8", (2,), "raw", b"ab")})),
        (_array(b"ab"), ArrayRecord({"0": Array("int8", (2,), "raw", b"ab")})),
    ],
)
def test_whatever_differs_has_another_hash(
    one: ConfigRecord | MetricRecord | ArrayRecord, other: ConfigRecord | MetricRecord | ArrayRecord
) -> None:
    assert record_digest(one) != record_digest(other)


def test_a_buffer_that_is_exchanged_is_hashed_again() -> None:
    record = _array(b"ab")
    before = record_digest(record)
    record["0"].data = bytes(bytearray(b"ac"))
    assert record_digest(record) != before
    del record["0"]
    assert record_digest(record) == record_digest(ArrayRecord())


def test_the_base_is_about_the_weights_alone() -> None:
    weights = encode_weights(tiny_weights())
    order = encode_order(order_for(Task.ADAPT_TARGET, "adapt"), weights)
    assert base_digest(digests(order)) == base_digest(digests(weights))
    other = encode_weights({**tiny_weights(), "scale": torch.tensor(1e-9)})
    assert base_digest(digests(other)) != base_digest(digests(weights))


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(envelopes, "version", missing)
    assert envelopes._installed() == "not installed"


def test_an_envelope_comes_off_and_leaves_the_content_as_it_was() -> None:
    content = _content()
    envelope = Envelope(run="r", plan="p", fall_backs=2, version="0.0.9")
    stamped = in_envelope(content, envelope)
    assert "envelope" not in content
    assert take_envelope(stamped) == envelope
    assert digests(stamped) == digests(content)


@pytest.mark.parametrize(
    "record",
    [
        None,
        MetricRecord({"run": 1.0}),
        ConfigRecord({"run": "r", "plan": "p"}),  # an older program
        ConfigRecord({"run": "r", "plan": "p", "fall-backs": 0, "version": "1", "more": 1}),
        ConfigRecord({"run": "r", "plan": "p", "fall-backs": True, "version": "1"}),
    ],
)
def test_a_letter_without_a_proper_envelope_is_refused(record: ConfigRecord | MetricRecord | None) -> None:
    content = RecordDict({} if record is None else {"envelope": record})
    with pytest.raises(RefusalError) as caught:
        take_envelope(content)
    assert caught.value.rules == ("no-envelope",)


def test_a_signature_travels_beside_the_content() -> None:
    content = signed(_content(), STATEMENT, KEY)
    taken = take_signature(content)
    assert taken is not None
    assert digests(content) == digests(_content())
    assert taken.statement(MessageKind.REPLY, "p") == STATEMENT
    assert is_signed_by(taken.public_key, taken.signature, STATEMENT)


def _without(key: str) -> Callable[[ConfigRecord], ConfigRecord]:
    return lambda record: ConfigRecord({name: value for name, value in record.items() if name != key})


@pytest.mark.parametrize(
    "change",
    [
        lambda _record: MetricRecord({"signature": 1.0}),
        _without("site-id"),
        _without("signature"),
        lambda record: ConfigRecord({**record, "public-key": "text"}),
        lambda record: ConfigRecord({**record, "server-round": True}),
        lambda record: ConfigRecord({**record, "site-id": "a name as long as a letter" * 10}),
        lambda record: ConfigRecord({**record, "signature": bytes(257)}),
    ],
)
def test_what_looks_like_no_signature_is_none(change: Callable[[ConfigRecord], ConfigRecord]) -> None:
    content = signed(_content(), STATEMENT, KEY)
    content["signature"] = change(content["signature"])  # type: ignore[arg-type]
    assert take_signature(content) is None
    assert take_signature(_content()) is None


def test_words_can_be_signed_and_split_again() -> None:
    text = signed_words("adapt failed: OSError", STATEMENT, KEY)
    words, taken = split_words(text)
    assert words == "adapt failed: OSError"
    assert taken is not None
    assert is_signed_by(taken.public_key, taken.signature, taken.statement(MessageKind.REPLY, "p"))
    assert split_words("plain words") == ("plain words", None)
    assert words_digest("plain") == hashlib.sha256(b"plain").hexdigest()


@pytest.mark.parametrize("proof", ["?", base64.b64encode(b"[]").decode(), base64.b64encode(b"{}").decode()])
def test_a_broken_signature_behind_words_is_none(proof: str) -> None:
    assert split_words(f"words\nsigned {proof}") == ("words", None)
    said = json.dumps({"public-key": "zz", "signature": ""})
    assert split_words(f"words\nsigned {base64.b64encode(said.encode()).decode()}") == ("words", None)


def test_the_bytes_of_the_wire_hold_everything() -> None:
    content = _content()
    content["weights"] = _array(b"find-me-in-the-bytes", shape=20)
    wire = wire_bytes(content)
    for word in (b"find-me-in-the-bytes", b"num-examples", b"loss", b"weight", b"float32"):
        assert word in wire
    assert wire == wire_bytes(content)


def test_places_and_names_are_read_without_trust() -> None:
    assert place_of(encode_order(order_for(Task.ADAPT_TARGET, "adapt"), RecordDict())) == ("adapt", 1)
    assert place_of(RecordDict()) == ("", 0)
    assert place_of(RecordDict({"order": ConfigRecord({"phase": 3})})) == ("", 0)
    assert name_in(encode_card(TARGET_A)) == "target-a"
    assert name_in(RecordDict()) is None
