"""The codec: our words to Flower's records and back. The one place that knows record names and kebab-case keys."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from torch import Tensor

from diffuse_uda.data.fingerprint import Fingerprint, from_numbers
from diffuse_uda.errors import ExchangeError
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.exchange.packing import Layout, pack, unpack
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import SiteRole, StateDict

INTRODUCE = "query.introduce"
"""Message type of the question that every site answers with its card."""

_STYPE = "raw-little-endian"
"""How Flower shall describe our buffers; it passes the word on without reading it."""

_WEIGHTS = {"weights", "weights-layout"}
_STYLE = {"style-blocks", "style-blocks-layout"}

_Record = TypeVar("_Record", ArrayRecord, ConfigRecord, MetricRecord)
_Value = TypeVar("_Value", int, str)
_Member = TypeVar("_Member", Task, SiteRole)


class ErrorCode(IntEnum):
    """What an error reply of ours means; Flower's own codes are below 100."""

    TASK_FAILED = 100
    """The task raised; the reason stays at the site."""
    SITE_UNASSIGNED = 101
    """A simulated node that has not been told which site it plays."""


def work_type(task: Task) -> str:
    """Message type of an order. Flower knows train, evaluate and query; all our work travels as `train`."""
    return f"train.{task.value}"


def error_reply(code: ErrorCode, reason: str, request: Message) -> Message:
    """Answer a request with an error; `reason` leaves the site, so it has to be sealed."""
    return Message(Error(code.value, reason), reply_to=request)


def num_bytes(content: RecordDict) -> int:
    """Bytes of all keys and values, without Flower's framing; Flower's own count refuses empty texts."""
    return sum(len(key) + _size(value) for record in content.values() for key, value in record.items())


NO_PARTNER = -1
"""A config record holds no None."""


def empty_content() -> RecordDict:
    """Content of a question that needs no words."""
    return RecordDict()


def encode_weights(weights: Mapping[str, Tensor]) -> RecordDict:
    """Pack a model once; all orders of a round can share the result."""
    return RecordDict(dict(_pack("weights", weights)))


def encode_order(order: WorkOrder, packed_weights: RecordDict) -> RecordDict:
    """Write an order, beside weights that are packed already."""
    record = ConfigRecord(
        {
            "task": order.task.value,
            "phase": order.phase,
            "server-round": order.server_round,
            "num-rounds": order.num_rounds,
            "pass-index": order.pass_index,
            "num-participants": order.num_participants,
            "partner": NO_PARTNER if order.partner is None else order.partner,
            "number": order.number,
            "after": order.after,
            "row": order.row,
            "domains": list(order.domains),
            "label-names": list(order.label_names),
        }
    )
    return RecordDict({"order": record, **_pack("style-blocks", order.style_blocks), **packed_weights})


def decode_order(content: RecordDict) -> tuple[WorkOrder, StateDict]:
    """Read an order and its weights; the buffers are taken out of `content` one by one.

    Raises:
        ExchangeError: If a record or key is missing, unknown, or of the wrong type.
    """
    _require_records(content, {"order", *_WEIGHTS, *_STYLE})
    record = _record(content, "order", ConfigRecord)
    order = WorkOrder(
        task=_member(Task, "task", _value(record, "task", str)),
        phase=_value(record, "phase", str),
        server_round=_value(record, "server-round", int),
        num_rounds=_value(record, "num-rounds", int),
        pass_index=_value(record, "pass-index", int),
        num_participants=_value(record, "num-participants", int),
        partner=None if (partner := _value(record, "partner", int)) == NO_PARTNER else partner,
        number=_value(record, "number", int),
        after=_value(record, "after", int),
        row=_value(record, "row", str),
        domains=_texts(record, "domains"),
        label_names=_texts(record, "label-names"),
        style_blocks=_unpack(content, "style-blocks"),
    )
    return order, _unpack(content, "weights")


def encode_reply(reply: SiteReply) -> RecordDict:
    """Write a reply: what `SiteReply` has no field for cannot be written. The policy looks at it before."""
    packed = _pack("weights", reply.weights) if reply.weights is not None else {}
    return RecordDict(
        {
            "reply": ConfigRecord({"num-examples": reply.num_examples}),
            "metrics": MetricRecord({key: float(value) for key, value in reply.metrics.items()}),
            **packed,
        }
    )


def decode_reply(content: RecordDict) -> SiteReply:
    """Read a reply; the buffers are taken out of `content` one by one, so that no model is held twice.

    Raises:
        ExchangeError: If a record or key is missing, unknown, or of the wrong type.
    """
    _require_records(content, {"reply", "metrics"}, optional=_WEIGHTS)
    metrics = {key: value for key, value in _record(content, "metrics", MetricRecord).items() if type(value) is float}
    if wrong := sorted(_record(content, "metrics", MetricRecord).keys() - metrics.keys()):
        msg = f"metrics {wrong} are no single numbers"
        raise ExchangeError(msg)
    return SiteReply(
        num_examples=_value(_record(content, "reply", ConfigRecord), "num-examples", int),
        metrics=metrics,
        weights=_unpack(content, "weights") if _WEIGHTS & content.keys() else None,
    )


def encode_card(card: SiteCard) -> RecordDict:
    """Write a site's introduction."""
    record = ConfigRecord(
        {
            "site-id": card.site_id,
            "role": card.role.value,
            "num-cases": card.num_cases,
            "num-test-cases": card.num_test_cases,
            "label-names": list(card.label_names),
            "fingerprint": [] if card.fingerprint is None else list(card.fingerprint.numbers().values()),
        }
    )
    blocks = {} if card.style_block is None else {card.site_id: card.style_block}
    return RecordDict({"card": record, **_pack("style-blocks", blocks)})


def decode_card(content: RecordDict) -> SiteCard:
    """Read a site's introduction.

    Raises:
        ExchangeError: If a record or key is missing, unknown, or of the wrong type.
    """
    _require_records(content, {"card", *_STYLE})
    record = _record(content, "card", ConfigRecord)
    site_id = _value(record, "site-id", str)
    blocks = _unpack(content, "style-blocks")
    if blocks.keys() - {site_id}:
        msg = f"site {site_id!r} sent a style block under another name"
        raise ExchangeError(msg)
    return SiteCard(
        site_id=site_id,
        role=_member(SiteRole, "role", _value(record, "role", str)),
        num_cases=_value(record, "num-cases", int),
        num_test_cases=_value(record, "num-test-cases", int),
        label_names=_texts(record, "label-names"),
        style_block=blocks.get(site_id),
        fingerprint=_fingerprint(record),
    )


def _fingerprint(record: ConfigRecord) -> Fingerprint | None:
    said = record.get("fingerprint")
    if said == []:
        return None
    try:
        return from_numbers([float(number) for number in said])  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        msg = f"a site's fingerprint cannot be used: {error}"
        raise ExchangeError(msg) from None


def _size(value: object) -> int:
    if isinstance(value, Array):
        return len(value.data)
    if isinstance(value, str | bytes):
        return len(value)
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _pack(name: str, tensors: Mapping[str, Tensor]) -> dict[str, ArrayRecord | ConfigRecord]:
    layout, buffers = pack(tensors)
    arrays = {str(index): Array("uint8", (len(buffer),), _STYPE, buffer) for index, buffer in enumerate(buffers)}
    table = ConfigRecord(
        {
            "names": list(layout.names),
            "dtypes": list(layout.dtypes),
            "shapes": list(layout.shapes),
            "buffers": list(layout.buffers),
        }
    )
    return {name: ArrayRecord(arrays), f"{name}-layout": table}


def _unpack(content: RecordDict, name: str) -> StateDict:
    arrays = _record(content, name, ArrayRecord)
    table = _record(content, f"{name}-layout", ConfigRecord)
    places = table.get("buffers")
    if not isinstance(places, list) or not all(type(place) is int for place in places):
        msg = f"{name}-layout: buffers are no list of whole numbers"
        raise ExchangeError(msg)
    layout = Layout(
        names=_texts(table, "names"),
        dtypes=_texts(table, "dtypes"),
        shapes=_texts(table, "shapes"),
        buffers=tuple(place for place in places if isinstance(place, int)),
    )
    if set(arrays) != {str(index) for index in range(len(arrays))} or {array.stype for array in arrays.values()} - {
        _STYPE
    }:
        msg = f"{name}: wanted buffers 0, 1, 2, ... of kind {_STYPE!r}, found {sorted(arrays)[:5]}"
        raise ExchangeError(msg)
    return unpack(layout, len(arrays), lambda index: arrays.pop(str(index)).data)


def _require_records(content: RecordDict, wanted: set[str], *, optional: set[str] | None = None) -> None:
    missing, unknown = sorted(wanted - content.keys()), sorted(content.keys() - wanted - (optional or set()))
    if missing or unknown:
        msg = f"the message lacks the records {missing} and has the unknown ones {unknown}"
        raise ExchangeError(msg)


def _record(content: RecordDict, name: str, kind: type[_Record]) -> _Record:
    record = content.get(name)
    if not isinstance(record, kind):
        msg = f"record {name!r} is {type(record).__name__}, wanted {kind.__name__}"
        raise ExchangeError(msg)
    return record


def _value(record: ConfigRecord, key: str, kind: type[_Value]) -> _Value:
    value = record.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        msg = f"key {key!r} is {type(value).__name__}, wanted {kind.__name__}"
        raise ExchangeError(msg)
    return value


def _texts(record: ConfigRecord, key: str) -> tuple[str, ...]:
    values = record.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        msg = f"key {key!r} is no list of texts"
        raise ExchangeError(msg)
    return tuple(value for value in values if isinstance(value, str))


def _member(kind: type[_Member], key: str, value: str) -> _Member:
    try:
        return kind(value)
    except ValueError:
        msg = f"key {key!r} has the unknown value {value!r}, wanted one of {[member.value for member in kind]}"
        raise ExchangeError(msg) from None
