"""A grid of threads keeps Flower's promises."""

from __future__ import annotations

import threading
import time

import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from simulations.engines.local_grid import CLIENT_RAISED, FIRST_NODE_ID, RUN_ID, LocalGrid


def _echo() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        message.content["arrays"].pop("0")
        return Message(RecordDict(), reply_to=message)

    return app


def _letter(grid: LocalGrid, content: RecordDict, node_id: int = FIRST_NODE_ID) -> Message:
    return grid.create_message(content, "train", node_id, "1")


def _content() -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({"0": Array("uint8", (1,), "raw-little-endian", b"x")})})


def test_sending_and_waiting_brings_every_reply_once() -> None:
    with LocalGrid(_echo(), [{}, {}], {}, num_workers=2) as grid:
        content = _content()
        messages = [_letter(grid, content, node_id) for node_id in grid.get_node_ids()]
        replies = grid.send_and_receive(messages, timeout=5.0)
        assert sorted(reply.metadata.src_node_id for reply in replies) == grid.get_node_ids()
        assert grid.run.run_id == RUN_ID
        grid.set_run(grid.run)


def test_a_reader_empties_its_own_copy_only() -> None:
    with LocalGrid(_echo(), [{}, {}], {}) as grid:
        content = _content()
        replies = grid.send_and_receive([_letter(grid, content, node_id) for node_id in grid.get_node_ids()])
        assert not any(reply.has_error() for reply in replies)
        assert list(content["arrays"]) == ["0"]


def test_waiting_ends_with_the_timeout() -> None:
    def lose(_reply: Message) -> None:
        return None

    with LocalGrid(_echo(), [{}], {}, on_return=lose) as grid:
        assert grid.send_and_receive([_letter(grid, _content())], timeout=0.05) == []


def test_an_exception_is_told_in_flower_s_words() -> None:
    with LocalGrid(ClientApp(), [{}], {}) as grid:
        (reply,) = grid.send_and_receive([_letter(grid, RecordDict())])
    assert reply.error.code == CLIENT_RAISED
    assert "No train function registered" in str(reply.error.reason)


def test_a_node_does_one_thing_at_a_time() -> None:
    at_work = threading.Semaphore(1)
    overlaps: list[bool] = []

    def watch(_message: Message) -> None:
        alone = at_work.acquire(blocking=False)
        overlaps.append(not alone)
        time.sleep(0.02)
        if alone:
            at_work.release()

    with LocalGrid(_echo(), [{}], {}, num_workers=3, on_delivery=watch) as grid:
        grid.send_and_receive([_letter(grid, _content()) for _ in range(3)])
    assert overlaps == [False, False, False]


def test_a_request_to_stop_in_a_thread_reaches_the_caller() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    with LocalGrid(app, [{}], {}) as grid, pytest.raises(KeyboardInterrupt):
        grid.send_and_receive([_letter(grid, RecordDict())])
