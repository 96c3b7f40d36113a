"""Orders, replies and cards come out of Flower's records as they went in, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from diffuse_uda.errors import ExchangeError
from diffuse_uda.exchange.flower import (
    decode_card,
    decode_order,
    decode_reply,
    encode_card,
    encode_order,
    encode_reply,
    encode_weights,
    num_bytes,
    work_type,
)
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.methods.phase import Task
from tests.fake_federation import SOURCE, TARGET_A, order_for

WEIGHTS = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3), "half": torch.tensor(0.1, dtype=torch.bfloat16)}
ORDER = replace(order_for(Task.EVALUATE, "evaluate-asc", row="asc"), style_blocks={"target-a": torch.ones(2, 2)})


def _order_content() -> RecordDict:
    return encode_order(ORDER, encode_weights(WEIGHTS))


def _reply_content() -> RecordDict:
    return encode_reply(SiteReply(num_examples=3, metrics={"loss": 0.5}, weights=WEIGHTS))


def _card_content() -> RecordDict:
    return encode_card(SOURCE)


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    same = [torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first]
    return list(first) == list(second) and all(same)


def test_an_order_comes_back_with_its_weights() -> None:
    content = _order_content()
    order, weights = decode_order(content)
    assert replace(order, style_blocks={}) == replace(ORDER, style_blocks={})
    assert _equal(dict(order.style_blocks), dict(ORDER.style_blocks))
    assert _equal(weights, WEIGHTS)


@pytest.mark.parametrize("partner", [None, 1, 7])
def test_an_order_says_which_target_it_is_for(partner: int | None) -> None:
    content = encode_order(replace(ORDER, partner=partner), encode_weights(WEIGHTS))
    assert decode_order(content)[0].partner == partner


def test_reading_takes_the_buffers_out_so_that_no_model_is_held_twice() -> None:
    content = _order_content()
    before = num_bytes(content)
    decode_order(content)
    assert len(content["weights"]) == 0
    assert before - num_bytes(content) >= 8 + 8 + 2


@pytest.mark.parametrize("weights", [None, WEIGHTS, {}])
def test_a_reply_comes_back(weights: dict[str, torch.Tensor] | None) -> None:
    back = decode_reply(encode_reply(SiteReply(num_examples=3, metrics={"loss": 0.5, "pairs": 2}, weights=weights)))
    assert (back.num_examples, back.metrics) == (3, {"loss": 0.5, "pairs": 2.0})
    assert (back.weights is None) == (weights is None)
    assert weights is None or _equal(back.weights or {}, weights)


def test_a_card_comes_back() -> None:
    assert decode_card(encode_card(SOURCE)) == SOURCE
    block = torch.ones(2, 3)
    back = decode_card(encode_card(replace(TARGET_A, style_block=block)))
    assert replace(back, style_block=None) == TARGET_A
    assert back.style_block is not None
    assert torch.equal(back.style_block, block)


def test_bytes_are_those_of_keys_and_values() -> None:
    content = RecordDict(
        {
            "a": ConfigRecord({"four": "text", "": "", "n": 1, "list": ["ab", "c"]}),
            "b": ArrayRecord({"0": Array("uint8", (5,), "raw-little-endian", bytes(5))}),
        }
    )
    assert num_bytes(content) == (4 + 4) + 0 + (1 + 8) + (4 + 3) + (1 + 5)


def test_every_task_is_a_message_type_of_flower() -> None:
    assert [work_type(task) for task in (Task.WARM_UP, Task.EVALUATE)] == ["train.warm_up", "train.evaluate"]
    assert all(task.value.isidentifier() for task in Task)


def _set(record: str, key: str, value: object) -> Callable[[RecordDict], None]:
    def change(content: RecordDict) -> None:
        content[record][key] = value  # type: ignore[assignment]

    return change


def _drop(record: str, key: str = "") -> Callable[[RecordDict], None]:
    def change(content: RecordDict) -> None:
        if key:
            del content[record][key]
        else:
            del content[record]

    return change


def _add(name: str, record: ArrayRecord | ConfigRecord | MetricRecord) -> Callable[[RecordDict], None]:
    def change(content: RecordDict) -> None:
        content[name] = record

    return change


@pytest.mark.parametrize(
    ("make", "read", "change", "wrong"),
    [
        (_order_content, decode_order, _drop("weights"), "lacks the records \\['weights'\\]"),
        (_order_content, decode_order, _add("extra", ConfigRecord()), "unknown ones \\['extra'\\]"),
        (_order_content, decode_order, _drop("order", "task"), "'task' is NoneType, wanted str"),
        (_order_content, decode_order, _set("order", "task", "spy"), "unknown value 'spy'"),
        (_order_content, decode_order, _set("order", "server-round", "1"), "is str, wanted int"),
        (_order_content, decode_order, _set("order", "server-round", True), "is bool, wanted int"),
        (_order_content, decode_order, _set("order", "domains", [1, 2]), "'domains' is no list of texts"),
        (_order_content, decode_order, _set("order", "domains", "source"), "'domains' is no list of texts"),
        (_order_content, decode_order, _add("order", MetricRecord()), "'order' is MetricRecord, wanted ConfigRecord"),
        (_reply_content, decode_reply, _drop("metrics"), "lacks the records \\['metrics'\\]"),
        (_reply_content, decode_reply, _drop("weights-layout"), "'weights-layout' is NoneType"),
        (_reply_content, decode_reply, _drop("weights"), "'weights' is NoneType"),
        (_reply_content, decode_reply, _set("metrics", "loss", [0.5, 0.5]), "metrics \\['loss'\\] are no single"),
        (_reply_content, decode_reply, _set("metrics", "loss", 1), "metrics \\['loss'\\] are no single"),
        (_reply_content, decode_reply, _set("reply", "num-examples", 1.0), "is float, wanted int"),
        (_reply_content, decode_reply, _set("weights-layout", "buffers", "0"), "no list of whole numbers"),
        (_reply_content, decode_reply, _set("weights-layout", "buffers", [0.0]), "no list of whole numbers"),
        (_reply_content, decode_reply, _set("weights-layout", "names", ["w"]), "different lengths"),
        (_reply_content, decode_reply, _add("weights", ArrayRecord([])), "go through the 0 buffers"),
        (
            _reply_content,
            decode_reply,
            _set("weights", "0", Array("uint8", (18,), "numpy.ndarray", bytes(18))),
            "of kind 'raw-little-endian'",
        ),
        (
            _reply_content,
            decode_reply,
            _set("weights", "spy", Array("uint8", (1,), "raw-little-endian", b"x")),
            "wanted buffers 0, 1, 2",
        ),
        (_card_content, decode_card, _set("card", "role", "boss"), "unknown value 'boss'"),
        (_card_content, decode_card, _set("card", "site-id", "leeds"), None),
    ],
)
def test_a_malformed_message_is_refused(
    make: Callable[[], RecordDict],
    read: Callable[[RecordDict], object],
    change: Callable[[RecordDict], None],
    wrong: str | None,
) -> None:
    content = make()
    change(content)
    if wrong is None:
        read(content)
        return
    with pytest.raises(ExchangeError, match=wrong):
        read(content)


def test_a_style_block_under_another_name_is_refused() -> None:
    content = encode_card(replace(TARGET_A, style_block=torch.ones(2)))
    _set("card", "site-id", "leeds")(content)
    with pytest.raises(ExchangeError, match="'leeds' sent a style block under another name"):
        decode_card(content)
