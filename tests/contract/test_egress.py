"""A patient's name is planted everywhere a task could put it; no byte that travels holds it, and no image does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from flwr.app import Array, Message

from diffuse_uda.errors import Finding, InputError, QuorumError, SiteTaskError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.methods.phase import Task
from diffuse_uda.training.interruption import allow_local_work
from simulations.engines.in_process import run_in_process
from tests import arithmetic_tasks
from tests.fake_federation import node_configs, run_config, use_arithmetic

NAME = "DOE_JANE"
LARGEST_MESSAGE = 2_000
"""Bytes; the models of this test have three numbers, an image of 40 x 48 x 40 voxels has 307,200 bytes."""


class Wire:
    """Every byte between the sites and the server."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def to_site(self, message: Message) -> None:
        self.messages.append(_bytes_of(message))

    def from_site(self, message: Message) -> Message:
        self.messages.append(_bytes_of(message))
        return message


def _bytes_of(message: Message) -> bytes:
    parts: list[object] = [message.metadata]
    if message.has_error():
        parts += [message.error.code, message.error.reason]
    else:
        for record_name, record in message.content.items():
            parts.append(record_name)
            for key, value in record.items():
                parts += [key, value.data if isinstance(value, Array) else value]
    return b"\0".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    use_arithmetic(monkeypatch)
    yield Wire()
    allow_local_work()


def _run(folder: Path, wire: Wire, **overrides: Any) -> None:
    run_in_process(
        run_config(folder, **overrides),
        node_configs(folder),
        on_event=lambda _event: None,
        on_delivery=wire.to_site,
        on_return=wire.from_site,
    )


def _everything(folder: Path, wire: Wire) -> bytes:
    """All that travelled and all that the server wrote."""
    written = [path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()]
    return b"\0".join([*wire.messages, *written])


def _planted(reply: SiteReply, **weights: torch.Tensor) -> SiteReply:
    return replace(reply, weights={**(reply.weights or {}), **weights})


def _raise(_reply: SiteReply) -> SiteReply:
    msg = f"cannot read /data/{NAME}/t1.nii.gz"
    raise FileNotFoundError(msg)


def _raise_renamed(_reply: SiteReply) -> SiteReply:
    raise type(NAME, (ValueError,), {})(NAME)


def _raise_with_cause(_reply: SiteReply) -> SiteReply:
    raise RuntimeError from KeyError(NAME)


def _refuse_input(_reply: SiteReply) -> SiteReply:
    raise InputError([Finding(rule=NAME, centre=NAME, found=NAME, wanted=NAME, fix=NAME, case=NAME, file=NAME)])


def _log(reply: SiteReply) -> SiteReply:
    logging.getLogger("site").error("working on %s", NAME)
    return reply


PLANTS: dict[str, Callable[[SiteReply], SiteReply]] = {
    "exception text": _raise,
    "exception class": _raise_renamed,
    "exception cause": _raise_with_cause,
    "refused input": _refuse_input,
    "site log": _log,
    "metric key": lambda reply: replace(reply, metrics={NAME: 1.0}),
    "metric key of a loss": lambda reply: replace(reply, metrics={f"loss/{NAME}": 1.0}),
    "metric key of a label": lambda reply: replace(reply, metrics={f"dice/{NAME}": 1.0}),
    "metric value": lambda reply: replace(reply, metrics={"loss": cast("float", NAME)}),
    "number of cases": lambda reply: replace(reply, num_examples=cast("int", NAME)),
    "tensor name": lambda reply: _planted(reply, **{NAME: torch.zeros(1)}),
    "tensor dtype": lambda reply: _planted(reply, weight=torch.tensor(list(NAME.encode()), dtype=torch.uint8)),
    "image under a new name": lambda reply: _planted(reply, image=torch.rand(40, 48, 40)),
    "image under a good name": lambda reply: _planted(reply, weight=torch.rand(40, 48, 40)),
}


@pytest.mark.parametrize("place", PLANTS)
def test_what_a_task_plants_does_not_leave_the_site(
    place: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = arithmetic_tasks.run_task

    def plant(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        reply = work(site, config, order, weights)
        return PLANTS[place](reply) if site.site_id == "target-b" and order.task is Task.ADAPT_TARGET else reply

    monkeypatch.setattr(arithmetic_tasks, "run_task", plant)
    _run(tmp_path, wire)
    assert len(wire.messages) == 2 * (3 + 1 + 2 + 3 + 2)  # cards, warm-up, scores, one round of all, scores
    assert NAME.encode() not in _everything(tmp_path, wire)
    assert max(map(len, wire.messages)) < LARGEST_MESSAGE


def test_a_name_among_the_labels_or_in_place_of_the_site_does_not_leave(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    introduce = arithmetic_tasks.introduce
    changes: list[dict[str, Any]] = [
        {"label_names": ("background", f"{NAME}^1970")},
        {"site_id": f"{NAME} 1970"},
        {"style_block": torch.rand(40, 48, 40)},
    ]
    for change in changes:
        monkeypatch.setattr(
            arithmetic_tasks,
            "introduce",
            lambda site, config, change=change: replace(introduce(site, config), **change),
        )
        with pytest.raises(SiteTaskError, match="3 of 3 sites cannot take part"):
            _run(tmp_path, wire)
    assert NAME.encode() not in b"\0".join(wire.messages)
    assert max(map(len, wire.messages)) < LARGEST_MESSAGE


def test_scores_over_two_cases_stay_at_the_site(tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    work = arithmetic_tasks.run_task
    telling = 0.123456789

    def few(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        reply = work(site, config, order, weights)
        if order.task is Task.EVALUATE:
            return SiteReply(num_examples=2, metrics={"dice": telling, "dice/ball": telling})
        return reply

    monkeypatch.setattr(arithmetic_tasks, "run_task", few)
    _run(tmp_path, wire)
    assert str(telling).encode() not in _everything(tmp_path, wire)
    assert b"withheld-scores" in _everything(tmp_path, wire)


def test_a_server_cannot_ask_for_what_the_method_does_not_contain(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[Task] = []
    work = arithmetic_tasks.run_task

    def watch(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        worked.append(order.task)
        return work(site, config, order, weights)

    monkeypatch.setattr(arithmetic_tasks, "run_task", watch)
    monkeypatch.setattr("server.strategy.assignments", lambda _phase, _sites: {"source": Task.SYNTHESISE})
    with pytest.raises(QuorumError, match="warm-up"):
        _run(tmp_path, wire)
    assert worked == []


def test_the_wire_of_this_test_sees_what_travels(tmp_path: Path, wire: Wire) -> None:
    _run(tmp_path, wire, name="seen-on-the-wire")
    travelled = b"\0".join(wire.messages)
    assert b"target-b" in travelled
    assert b"adapt" in travelled
    weights = torch.tensor([1.0, 1.0]).numpy().tobytes()  # the model after the warm-up
    assert weights in travelled
