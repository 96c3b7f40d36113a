"""Letters and answers: each letter gets exactly one answer, and waiting is bounded and knows silence from work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.clientapp import ClientApp

from diffuse_uda.exchange.flower import ErrorCode
from server.letters import Answer, Ignored, Letter, Outcome, Patience
from server.mail import MOST_SENDINGS, Mail
from simulations.engines.local_grid import LocalGrid

START = 100.0
PATIENT = Patience(idle_s=10.0, limit_s=100.0)


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = START
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    @property
    def passed(self) -> float:
        return self.now - START

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


Reply = Callable[[int], tuple[float, Error | None]]
"""Time after the start and the error, if it is one, of the reply to a node's first, second, ... letter."""


class ScriptedGrid(LocalGrid):
    """Nodes that are online at given times and answer at given times."""

    def __init__(self, clock: Clock, replies: dict[int, Reply], away: dict[int, tuple[float, float]]) -> None:
        super().__init__(ClientApp(), [], {})
        self.clock, self.replies, self.away = clock, replies, away
        self.waiting: dict[str, Message] = {}
        self.num_sent = dict.fromkeys(replies, 0)
        self.asked_while_away: list[int] = []
        self.repeats: dict[str, int] = {}
        self.refuses: set[int] = set()

    def is_online(self, node_id: int) -> bool:
        begin, end = self.away.get(node_id, (1e9, 1e9))
        return not begin <= self.clock.passed < end

    def get_nodes(self) -> Any:
        return [
            SimpleNamespace(
                node_id=node_id,
                last_activated_at="back" if self.clock.passed >= self.away.get(node_id, (0.0, 1e9))[1] else "first",
            )
            for node_id in sorted(self.replies, reverse=True)
            if self.is_online(node_id)
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[Any]:
        (message,) = messages
        node_id = message.metadata.dst_node_id
        if node_id in self.refuses:
            return [None]
        self.num_sent[node_id] += 1
        message_id = f"{node_id}.{self.num_sent[node_id]}"
        self.waiting[message_id] = message
        return [message_id]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        (message_id,) = message_ids
        node_id, _, which = message_id.partition(".")
        if not self.is_online(int(node_id)):
            self.asked_while_away.append(int(node_id))
        when, error = self.replies[int(node_id)](int(which))
        if self.clock.passed < when or message_id not in self.waiting:
            return []
        reply = Message(error or RecordDict(), reply_to=self.waiting.pop(message_id))
        return [reply] * self.repeats.get(message_id, 1)


def at(seconds: float, error: Error | None = None) -> Reply:
    return lambda _which: (seconds, error)


class Exchange:
    """A mailbox with letters to some nodes, all sent at the start."""

    def __init__(self, replies: dict[int, Reply], *, away: dict[int, tuple[float, float]] | None = None) -> None:
        self.clock = Clock()
        self.grid = ScriptedGrid(self.clock, replies, away or {})
        self.mail = Mail(self.grid, clock=self.clock, sleep=self.clock.sleep)

    def send(self, node_id: int) -> Letter:
        return self.mail.send(node_id, "train.adapt_source", RecordDict(), group="adapt-1", lifetime_s=60.0)

    def answers(
        self, patience: Patience = PATIENT, *, repeats: bool = True, letters: list[Letter] | None = None
    ) -> dict[int, Answer]:
        letters = [self.send(node_id) for node_id in self.grid.replies] if letters is None else letters
        given = list(self.mail.answers(letters, patience=patience, send_again=self.send if repeats else None))
        assert len({answer.node_id for answer in given}) == len(given) == len(letters)
        return {answer.node_id: answer for answer in given}

    def ignored(self) -> list[tuple[int, Ignored]]:
        return [(reply.node_id, reply.why) for reply in self.mail.take_ignored()]


def test_answers_come_in_the_order_of_arrival_and_who_is_still_at_work_at_the_limit_is_overdue() -> None:
    exchange = Exchange({1: at(5.0), 2: at(1.0), 3: at(999.0)})
    answers = exchange.answers()
    assert [(node_id, answer.outcome) for node_id, answer in answers.items()] == [
        (2, Outcome.ANSWERED),
        (1, Outcome.ANSWERED),
        (3, Outcome.OVERDUE),
    ]
    assert answers[3].reason == "no answer within 100 s"
    assert 100.0 <= exchange.clock.passed < 101.0


@pytest.mark.fault("R-07")
def test_a_site_that_shows_progress_is_not_given_up_however_long_it_works() -> None:
    # Silence is allowed for 10 s, the work takes 90 s; the node is online all the time.
    assert Exchange({1: at(90.0)}).answers()[1].outcome is Outcome.ANSWERED


@pytest.mark.fault("attendance")
def test_silence_beyond_the_limit_is_an_end_and_shorter_silence_is_none() -> None:
    silent = Exchange({1: at(50.0)}, away={1: (20.0, 45.0)})
    answer = silent.answers(repeats=False)[1]
    assert (answer.outcome, answer.reason) == (Outcome.SILENT, "not heard of for 10 s")
    assert 30.0 <= answer.seconds <= 31.5
    back_in_time = Exchange({1: at(50.0)}, away={1: (20.0, 29.0)})
    assert back_in_time.answers(repeats=False)[1].outcome is Outcome.ANSWERED


def test_nobody_asks_for_the_reply_of_a_node_that_is_offline_because_flower_would_throw_it_away() -> None:
    exchange = Exchange({1: at(22.0)}, away={1: (20.0, 29.0)})
    assert exchange.answers(repeats=False)[1].outcome is Outcome.ANSWERED
    assert exchange.grid.asked_while_away == []
    assert exchange.clock.passed >= 29.0


@pytest.mark.fault("R-06")
def test_a_node_that_was_away_gets_its_order_again_and_counts_once() -> None:
    # Restarted at 29 s, it has forgotten the first letter; the second is answered at 40 s.
    exchange = Exchange({1: lambda which: (999.0 if which == 1 else 40.0, None)}, away={1: (20.0, 29.0)})
    answer = exchange.answers()[1]
    assert (answer.outcome, answer.num_sendings) == (Outcome.ANSWERED, 2)
    assert exchange.grid.num_sent == {1: 2}


@pytest.mark.fault("R-06", "R-10")
def test_when_only_the_line_was_cut_both_replies_come_and_the_second_is_named_not_counted() -> None:
    # The first letter's work went on and ends at 50 s; the repeated order is answered at 40 s, from the site's disk.
    exchange = Exchange({1: lambda which: (50.0 if which == 1 else 40.0, None), 2: at(60.0)}, away={1: (20.0, 29.0)})
    answers = exchange.answers()
    assert answers[1].outcome is Outcome.ANSWERED
    assert answers[1].seconds < 42.0
    assert exchange.ignored() == [(1, Ignored.STALE)]
    assert exchange.ignored() == []


@pytest.mark.parametrize(("code", "reason"), [(5, "the site went offline"), (8, "its app stopped without a word")])
def test_a_site_that_crashed_over_its_order_is_asked_again(code: int, reason: str) -> None:
    exchange = Exchange({1: lambda which: (float(which), Error(code, "DOE_JANE") if which < 3 else None)})
    answer = exchange.answers()[1]
    assert (answer.outcome, answer.num_sendings) == (Outcome.ANSWERED, 3)
    always = Exchange({1: lambda which: (float(which), Error(code, "DOE_JANE"))})
    answer = always.answers()[1]
    assert (answer.outcome, answer.reason, answer.num_sendings) == (Outcome.LOST, reason, MOST_SENDINGS)


def test_without_repetition_a_lost_reply_is_lost() -> None:
    answer = Exchange({1: at(0.0, Error(3, "x"))}).answers(repeats=False)[1]
    assert (answer.outcome, answer.reason) == (Outcome.LOST, "its reply got lost")


def test_a_letter_for_a_node_that_is_not_there_waits_for_it_to_appear_as_long_as_it_says() -> None:
    def unsent(gather_s: float) -> list[Letter]:
        return [Letter(node_id=1, message_id=None, group="adapt-1", gather_s=gather_s)]

    appears = Exchange({1: at(40.0)}, away={1: (0.0, 15.0)})
    answer = appears.answers(letters=unsent(20.0))[1]
    assert (answer.outcome, answer.num_sendings) == (Outcome.ANSWERED, 1)
    never = Exchange({1: at(40.0)}, away={1: (0.0, 15.0)})
    answer = never.answers(letters=unsent(5.0))[1]
    assert (answer.outcome, answer.reason, answer.num_sendings) == (Outcome.ABSENT, "it is not online", 0)
    assert 5.0 <= answer.seconds <= 6.5
    at_once = Exchange({1: at(40.0)}, away={1: (0.0, 15.0)})
    assert at_once.answers(letters=unsent(0.0))[1].seconds == 0.0
    assert at_once.clock.passed == 0.0


def test_a_letter_that_flower_does_not_take_is_tried_a_few_times() -> None:
    exchange = Exchange({1: at(0.0)})
    exchange.grid.refuses = {1}
    answer = exchange.answers()[1]
    assert (answer.outcome, answer.reason) == (Outcome.LOST, "Flower would not take the letter")
    assert exchange.answers(repeats=False)[1].outcome is Outcome.ABSENT


@pytest.mark.fault("R-10")
def test_a_duplicate_beside_the_reply_is_named_and_not_counted() -> None:
    exchange = Exchange({1: at(1.0)})
    exchange.grid.repeats = {"1.1": 3}
    assert exchange.answers()[1].outcome is Outcome.ANSWERED
    assert exchange.ignored() == [(1, Ignored.DUPLICATE), (1, Ignored.DUPLICATE)]


@pytest.mark.fault("R-10")
def test_a_reply_from_another_node_than_the_one_asked_is_not_taken_for_its() -> None:
    exchange = Exchange({1: at(1.0), 2: at(2.0)})
    letters = [exchange.send(1), exchange.send(2)]
    # Whoever answers to node 1's letter says it is node 2.
    exchange.grid.waiting["1.1"] = exchange.grid.waiting["2.1"]
    answers = exchange.answers(letters=letters)
    assert {node_id: answer.outcome for node_id, answer in answers.items()} == {
        2: Outcome.ANSWERED,
        1: Outcome.OVERDUE,
    }
    assert exchange.ignored() == [(1, Ignored.MISADDRESSED)]


@pytest.mark.fault("R-09", "R-10")
def test_a_straggler_s_late_reply_is_refused_as_stale_in_a_later_round() -> None:
    exchange = Exchange({1: at(150.0), 2: lambda which: (1.0 if which == 1 else 160.0, None)})
    assert exchange.answers()[1].outcome is Outcome.OVERDUE
    assert exchange.answers(letters=[exchange.send(2)])[2].outcome is Outcome.ANSWERED
    assert exchange.ignored() == [(1, Ignored.STALE)]
    assert exchange.mail._given_up == []


def test_waiting_adds_one_percent_at_most() -> None:
    exchange = Exchange({1: at(50.0)})
    answer = exchange.answers()[1]
    assert 50.0 <= answer.seconds <= 50.5
    assert len(exchange.clock.pauses) < 1000
    assert max(exchange.clock.pauses) <= 1.0


def test_errors_say_no_more_than_their_site_has_sealed() -> None:
    errors = {
        1: Error(ErrorCode.TASK_FAILED, "sealed words"),
        2: Error(ErrorCode.SITE_UNASSIGNED, "nobody yet"),
        3: Error(2, "DOE_JANE"),
        4: Error(7, "DOE_JANE"),
    }
    answers = Exchange({node_id: at(0.0, error) for node_id, error in errors.items()}).answers()
    assert {node_id: (answer.outcome, answer.reason) for node_id, answer in answers.items()} == {
        1: (Outcome.FAILED, "sealed words"),
        2: (Outcome.UNASSIGNED, "nobody yet"),
        3: (Outcome.FAILED, "Flower reports error 2; the reason is in the site's log"),
        4: (Outcome.FAILED, "it has not approved this app bundle"),
    }


def test_a_letter_knows_its_size() -> None:
    assert Letter(node_id=1, message_id="a").num_bytes == 0


def test_nodes_are_listed_in_order() -> None:
    assert Exchange({3: at(0.0), 1: at(0.0), 2: at(0.0)}, away={2: (0.0, 1.0)}).mail.nodes() == [1, 3]
