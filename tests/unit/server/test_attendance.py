"""Sites that are away, come back, crash or lag: every sampled site ends every round in exactly one named state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from diffuse_uda.config import AdaptConfig, FederationConfig, StudyConfig
from diffuse_uda.errors import QuorumError
from diffuse_uda.exchange.flower import decode_order, encode_reply
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName, Task
from diffuse_uda.types import ModelName
from server.history import Event, RoundFinished, RoundRecord, SiteState
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid, _unshared
from tests.arithmetic_tasks import ROUND_OF_ALL, SHIFT
from tests.fake_federation import SOURCE, TARGET_A, TARGET_B, tiny_weights

SITES = (SOURCE, TARGET_A, TARGET_B)
NODES = {card.site_id: FIRST_NODE_ID + index for index, card in enumerate(SITES)}
ROUNDS = 4
GATHER_S, IDLE_S, LIMIT_S = 60.0, 300.0, 4000.0
WORK_S = 100.0

Fate = Callable[[int, int], float | Error]
"""Server round and sending (from 1) -> seconds of work, or the error that comes after 1 s."""


class World(LocalGrid):
    """Simulated time; nodes that are away at given times; work that takes as long as its fate says."""

    def __init__(self) -> None:
        app = ClientApp()
        for task in Task:
            app.train(task.value)(_train)
        super().__init__(app, [{"site-id": card.site_id} for card in SITES], {})
        self.now = 0.0
        self.away: dict[str, list[tuple[float, float]]] = {}
        self.fates: dict[str, Fate] = {}
        self.due: dict[str, float] = {}
        self.letters: dict[str, Message] = {}
        self.sent: list[tuple[str, int]] = []
        self.copies: dict[str, int] = {}

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)

    def get_nodes(self) -> Any:
        return [
            SimpleNamespace(
                node_id=node_id, last_activated_at=str(sum(end <= self.now for _, end in self._times(name)))
            )
            for name, node_id in NODES.items()
            if not any(begin <= self.now < end for begin, end in self._times(name))
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        (message,) = messages
        name = next(name for name, node_id in NODES.items() if node_id == message.metadata.dst_node_id)
        server_round = int(message.metadata.group_id.rpartition("-")[2])
        self.sent.append((name, server_round))
        message_id = f"{name}.{server_round}.{self.sent.count((name, server_round))}"
        copy = self.create_message(
            _unshared(message.content),
            message.metadata.message_type,
            message.metadata.dst_node_id,
            message.metadata.group_id,
            message.metadata.ttl,
        )
        self.letters[message_id] = copy
        fate = self._fate(name)(server_round, self.sent.count((name, server_round)))
        self.due[message_id] = self.now + (1.0 if isinstance(fate, Error) else fate)
        return [message_id]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        (message_id,) = message_ids
        if message_id not in self.letters or self.now < self.due[message_id]:
            return []
        letter = self.letters.pop(message_id)
        name, server_round, sending = message_id.split(".")
        fate = self._fate(name)(int(server_round), int(sending))
        if isinstance(fate, Error):
            return [Message(fate, reply_to=letter)]
        return [self._client_app(letter, self._contexts[NODES[name]])] * self.copies.get(name, 1)

    def _fate(self, name: str) -> Fate:
        return self.fates.get(name, lambda _round, _sending: WORK_S)

    def _times(self, name: str) -> list[tuple[float, float]]:
        return self.away.get(name, [])


def _train(message: Message, context: Context) -> Message:
    _, weights = decode_order(message.content)
    shift = SHIFT[str(context.node_config["site-id"])]
    trained = {name: tensor + shift if tensor.is_floating_point() else tensor + 1 for name, tensor in weights.items()}
    return Message(encode_reply(SiteReply(num_examples=1, weights=trained)), reply_to=message)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as grid:
        yield grid


def run(world: World, folder: Path, num_rounds: int = 1) -> list[RoundRecord]:
    """Carry out rounds of adaptation; the records say what became of everybody."""
    config = StudyConfig(
        adapt=AdaptConfig(num_rounds=ROUNDS, source_weight=0.5, learning_rate=10.0),
        federation=FederationConfig(join_timeout_s=GATHER_S, idle_timeout_s=IDLE_S, round_timeout_s=LIMIT_S),
    )
    events: list[Event] = []
    federation = FederatedPhases(
        config=config,
        mail=Mail(world, clock=world.clock, sleep=world.sleep),
        sites=SITES,
        node_ids=NODES,
        models={ModelName.SEGMENTER: tiny_weights()},
        spool_dir=folder,
        notify=events.append,
        clock=world.clock,
    )
    phase = next(phase for phase in build_method(config).phases if phase.name is PhaseName.ADAPT)
    try:
        for server_round in range(1, num_rounds + 1):
            federation.run_step(Step(phase=phase, server_round=server_round, number=server_round))
    finally:
        world.weight = float(federation.models[ModelName.SEGMENTER]["scale"])  # type: ignore[attr-defined]
        records = [event.record for event in events if isinstance(event, RoundFinished)]
        for record in records:
            assert list(record.sites) == [card.site_id for card in SITES]  # everybody, once, in one state
        world.records = records  # type: ignore[attr-defined]
    return records


def states(records: list[RoundRecord], site_id: str = "target-b") -> list[str]:
    return [record.sites[site_id].state.value for record in records]


@pytest.mark.fault("R-07")
def test_work_of_hours_is_waited_for_as_long_as_its_node_is_there(world: World, tmp_path: Path) -> None:
    world.fates["target-b"] = lambda _round, _sending: 3600.0
    records = run(world, tmp_path)
    assert states(records) == ["used"]
    assert world.weight == ROUND_OF_ALL  # type: ignore[attr-defined]
    assert 3600.0 <= records[0].seconds < 3700.0


@pytest.mark.fault("R-09")
def test_a_straggler_beyond_the_hard_limit_is_overdue_and_its_late_reply_is_refused_as_stale(
    world: World, tmp_path: Path
) -> None:
    world.fates["target-b"] = lambda server_round, _sending: 100.0 * WORK_S if server_round == 1 else 6500.0
    records = run(world, tmp_path, 3)
    assert states(records) == ["overdue", "overdue", "overdue"]
    assert records[0].sites["target-b"].reason == "no answer within 4000 s"
    assert records[0].seconds < LIMIT_S + 10.0
    # Rounds begin at 0, 4000 and 8000 s; replies to the first two come at 10,000 and 10,500 s, within the third.
    assert records[2].ignored == ("target-b: stale, adapt-1", "target-b: stale, adapt-2")
    assert world.weight == 3 * 5.5  # type: ignore[attr-defined]


@pytest.mark.fault("attendance")
def test_a_site_that_falls_silent_is_given_up_and_may_come_back_rounds_later(world: World, tmp_path: Path) -> None:
    # Away from 50 s to 700 s. Rounds take 100 s, the first one 350 s: until the silence is too long.
    world.away["target-b"] = [(50.0, 700.0)]
    records = run(world, tmp_path, 4)
    assert states(records) == ["silent", "absent", "absent", "absent"]
    assert [round(record.seconds, -1) for record in records] == [350.0, 100.0, 100.0, 100.0]
    assert records[0].sites["target-b"].reason == "not heard of for 300 s"
    assert (records[1].sites["target-b"].num_sendings, records[1].sites["target-b"].seconds) == (0, 0.0)


@pytest.mark.fault("attendance")
def test_an_absent_site_that_is_back_takes_part_again(world: World, tmp_path: Path) -> None:
    # Rounds end at 350 and 450 s; it is back at 440 s.
    world.away["target-b"] = [(50.0, 440.0)]
    records = run(world, tmp_path, 4)
    assert states(records) == ["silent", "absent", "used", "used"]
    # Its old work had gone on: the reply to round 1 comes in round 2, is named, and changes nothing.
    assert records[1].ignored == ("target-b: stale, adapt-1",)
    assert world.weight == pytest.approx(5.5 * 2 + ROUND_OF_ALL * 2)  # type: ignore[attr-defined]


@pytest.mark.fault("R-06")
def test_an_outage_shorter_than_the_limit_costs_nothing(world: World, tmp_path: Path) -> None:
    world.away["target-b"] = [(50.0, 340.0)]
    (record,) = run(world, tmp_path)
    assert record.sites["target-b"].state is SiteState.USED
    assert record.sites["target-b"].num_sendings == 2
    assert world.weight == ROUND_OF_ALL  # type: ignore[attr-defined]


def test_a_site_that_is_not_there_when_a_round_begins_is_waited_for(world: World, tmp_path: Path) -> None:
    world.away["target-b"] = [(0.0, 40.0)]
    (record,) = run(world, tmp_path)
    assert record.sites["target-b"].state is SiteState.USED
    assert record.sites["target-b"].num_sendings == 1
    assert world.weight == ROUND_OF_ALL  # type: ignore[attr-defined]


@pytest.mark.fault("R-08")
def test_a_site_that_never_appears_is_absent_after_the_gathering(world: World, tmp_path: Path) -> None:
    world.away["target-b"] = [(0.0, 1e9)]
    world.fates = dict.fromkeys(("source", "target-a"), lambda _round, _sending: 5.0)
    records = run(world, tmp_path, 3)
    assert states(records) == ["absent", "absent", "absent"]
    assert records[0].sites["target-b"].reason == "it is not online"
    assert 60.0 <= records[0].seconds < 65.0  # the gathering, once
    assert records[1].seconds < 10.0


@pytest.mark.fault("R-08", "attendance")
def test_without_the_source_the_run_ends_and_never_waits_for_ever(world: World, tmp_path: Path) -> None:
    world.away["source"] = [(0.0, 1e9)]
    with pytest.raises(QuorumError, match=r"no usable reply from \['source'\]"):
        run(world, tmp_path)
    assert world.now < GATHER_S + WORK_S + 10.0
    assert world.weight == 0.0  # type: ignore[attr-defined]
    assert states(world.records, "source") == ["absent"]  # type: ignore[attr-defined]


def test_what_a_round_cannot_do_without_is_waited_for_in_every_round(world: World, tmp_path: Path) -> None:
    # Both targets were away in round 1... which needs one of them: target-a comes back in time, target-b does not.
    world.away = {"target-a": [(0.0, 30.0)], "target-b": [(0.0, 1e9)]}
    records = run(world, tmp_path, 1)
    assert states(records, "target-a") == ["used"]
    world.away["target-a"] = [(0.0, 30.0), (world.now, world.now + 50.0)]
    assert states(run(world, tmp_path, 1), "target-a") == ["used"]


@pytest.mark.fault("R-15")
def test_a_crashing_app_is_asked_again_and_then_lost(world: World, tmp_path: Path) -> None:
    world.fates["target-a"] = lambda _round, sending: Error(8, "x") if sending < 3 else WORK_S
    world.fates["target-b"] = lambda _round, _sending: Error(8, "x")
    (record,) = run(world, tmp_path)
    assert (record.sites["target-a"].state, record.sites["target-a"].num_sendings) == (SiteState.USED, 3)
    assert (record.sites["target-b"].state, record.sites["target-b"].num_sendings) == (SiteState.LOST, 4)
    assert record.sites["target-b"].reason == "its app stopped without a word"
    assert world.weight == 5.5  # type: ignore[attr-defined]


@pytest.mark.fault("R-10")
def test_a_duplicated_reply_counts_once(world: World, tmp_path: Path) -> None:
    world.copies["target-b"] = 2
    (record,) = run(world, tmp_path)
    assert record.ignored == ("target-b: duplicate, adapt-1",)
    assert world.weight == ROUND_OF_ALL  # type: ignore[attr-defined]


@pytest.mark.fault("attendance")
def test_every_way_for_a_round_to_end_has_a_name_of_its_own() -> None:
    assert [state.value for state in SiteState] == [
        "used", "failed", "rejected", "lost", "silent", "overdue", "absent",
    ]  # fmt: skip
