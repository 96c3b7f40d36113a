"""Letters and answers: each letter gets exactly one answer, and waiting is cheap and bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.clientapp import ClientApp

from diffuse_uda.exchange.flower import ErrorCode
from server.mail import Letter, Mail, Outcome
from simulations.engines.local_grid import LocalGrid


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class ScriptedGrid(LocalGrid):
    """Answers appear at given times; node 0 cannot be reached."""

    def __init__(self, clock: Clock, replies: dict[int, tuple[float, Error | None]]) -> None:
        super().__init__(ClientApp(), [], {})
        self.clock = clock
        self.replies = replies
        self.pulled_together: list[int] = []
        self.sent: dict[str, Message] = {}

    def get_node_ids(self) -> list[int]:
        return [3, 1, 2]

    def push_messages(self, messages: Iterable[Message]) -> list[Any]:
        (message,) = messages
        node_id = message.metadata.dst_node_id
        self.sent[str(node_id)] = message
        return [str(node_id) if node_id else None]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        (message_id,) = message_ids
        when, error = self.replies[int(message_id)]
        if self.clock.now - 100.0 < when or message_id not in self.sent:
            return []
        return [Message(error or RecordDict(), reply_to=self.sent.pop(message_id))]


def _exchange(replies: dict[int, tuple[float, Error | None]], timeout_s: float) -> tuple[list[Any], Clock]:
    clock = Clock()
    with ScriptedGrid(clock, replies) as grid:
        mail = Mail(grid, clock=clock, sleep=clock.sleep)
        assert mail.nodes() == [1, 2, 3]
        letters = [
            mail.send(node_id, "train.adapt_source", RecordDict(), group="adapt-1", lifetime_s=60.0)
            for node_id in replies
        ]
        return list(mail.answers(letters, timeout_s=timeout_s)), clock


def test_answers_come_in_the_order_of_arrival_and_late_ones_are_given_up() -> None:
    answers, clock = _exchange({1: (5.0, None), 2: (1.0, None), 3: (99.0, None)}, timeout_s=10.0)
    assert [(answer.node_id, answer.outcome) for answer in answers] == [
        (2, Outcome.ANSWERED),
        (1, Outcome.ANSWERED),
        (3, Outcome.NOTHING),
    ]
    assert answers[2].reason == "no answer within 10 s"
    assert clock.now - 100.0 < 10.5


def test_waiting_adds_one_percent_at_most() -> None:
    (answer,), clock = _exchange({1: (50.0, None)}, timeout_s=100.0)
    assert 50.0 <= answer.seconds <= 50.6
    assert max(clock.pauses) <= 1.0
    assert len(clock.pauses) < 800


def test_a_letter_that_cannot_be_sent_is_answered_by_nothing() -> None:
    (answer,), _ = _exchange({0: (0.0, None)}, timeout_s=10.0)
    assert (answer.outcome, answer.reason) == (Outcome.NOTHING, "it is not online")


def test_errors_are_told_apart_and_only_sealed_words_are_repeated() -> None:
    errors = {
        1: Error(ErrorCode.TASK_FAILED, "sealed words"),
        2: Error(ErrorCode.SITE_UNASSIGNED, "nobody yet"),
        3: Error(2, "DOE_JANE"),
        4: Error(5, "DOE_JANE"),
    }
    answers, _ = _exchange({node_id: (0.0, error) for node_id, error in errors.items()}, timeout_s=10.0)
    assert [(answer.outcome, answer.reason) for answer in answers] == [
        (Outcome.FAILED, "sealed words"),
        (Outcome.UNASSIGNED, "nobody yet"),
        (Outcome.FAILED, "Flower reports error 2; the reason is in the site's log"),
        (Outcome.NOTHING, "the site went offline"),
    ]


def test_a_letter_knows_its_size() -> None:
    letter = Letter(node_id=1, message_id="a")
    assert letter.num_bytes == 0
