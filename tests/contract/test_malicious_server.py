"""A server that means harm gets a code from the site and nothing else: its order is not carried out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict

from client.client_app import app as client_app
from client.site import AUDIT_LOG
from diffuse_uda.exchange.envelopes import Envelope, in_envelope, split_words
from diffuse_uda.exchange.flower import INTRODUCE, empty_content, encode_order, encode_weights, work_type
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.run_options import read_run_config
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import Scalar, StateDict
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid
from tests import arithmetic_tasks
from tests.fake_federation import node_configs, order_for, run_config, tiny_weights, use_arithmetic

# The plan of `asc`: warm-up 1, an evaluation 2, adapt 3 to 5, an evaluation 6.
ORDER = replace(order_for(Task.ADAPT_TARGET, "adapt"), num_rounds=3, num_participants=3, number=3)
SECOND = replace(ORDER, server_round=2, number=4)


def _flat(folder: Path, **overrides: Scalar) -> dict[str, Scalar]:
    return run_config(folder, **{"adapt.num-rounds": 3, **overrides})


@dataclass
class Server:
    """Sends one target whatever it likes."""

    grid: LocalGrid
    plan: str
    worked: list[WorkOrder] = field(default_factory=list)

    def send(
        self, message_type: str, content: RecordDict, *, plan: str = "", run: str = "r1", fall_backs: int = 0
    ) -> Message:
        stamped = in_envelope(content, Envelope(run=run, plan=plan or self.plan, fall_backs=fall_backs))
        return self.post(message_type, stamped)

    def post(self, message_type: str, content: RecordDict) -> Message:
        return self.grid.send_and_receive([Message(content, FIRST_NODE_ID + 2, message_type)], timeout=60.0)[0]

    def order(self, order: WorkOrder = ORDER, weights: StateDict | None = None, **envelope: Any) -> Message:
        content = encode_order(order, encode_weights(tiny_weights() if weights is None else weights))
        return self.send(work_type(order.task), content, **envelope)


def _serve(folder: Path, node_changes: dict[str, Scalar] | None = None, **overrides: Scalar) -> Server:
    flat = _flat(folder, **overrides)
    nodes = [{**config, **(node_changes or {})} for config in node_configs(folder)]
    return Server(LocalGrid(client_app, nodes, flat), plan_hash(read_run_config(flat)[0]))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    use_arithmetic(monkeypatch)
    made = _serve(tmp_path)
    work = arithmetic_tasks.run_task

    def watched(site: Any, config: Any, order: WorkOrder, weights: Any) -> SiteReply:
        made.worked.append(order)
        return work(site, config, order, weights)

    monkeypatch.setattr(arithmetic_tasks, "run_task", watched)
    with made.grid:
        assert made.send(INTRODUCE, empty_content()).has_content()
        yield made


def _said(answer: Message) -> str:
    assert answer.has_error()
    words, signature = split_words(str(answer.error.reason))
    assert signature is not None
    return words


def test_an_honest_order_is_carried_out(server: Server) -> None:
    assert server.order().has_content()
    assert server.order(SECOND).has_content()
    assert len(server.worked) == 2


ATTACKS: dict[str, tuple[str, Callable[[Server], Message]]] = {
    "swapped architecture": (
        "layer-form",
        lambda server: server.order(weights={**tiny_weights(), "weight": torch.zeros(9)}),
    ),
    "unknown layer": ("unknown-layer", lambda server: server.order(weights={**tiny_weights(), "trap": torch.zeros(1)})),
    "missing layer": ("missing-layer", lambda server: server.order(weights={"weight": torch.zeros(2)})),
    "no weights": ("missing-layer", lambda server: server.order(weights={})),
    "NaN": (
        "weights-not-finite",
        lambda server: server.order(weights={**tiny_weights(), "scale": torch.tensor(math.nan)}),
    ),
    "infinity": (
        "weights-not-finite",
        lambda server: server.order(weights={**tiny_weights(), "scale": torch.tensor(-math.inf)}),
    ),
    "1e30": ("weights-too-large", lambda server: server.order(weights={**tiny_weights(), "scale": torch.tensor(1e30)})),
    "another plan": ("wrong-plan", lambda server: server.order(plan="0" * 64)),
    "a thousand rounds": ("wrong-plan", lambda server: server.order(replace(ORDER, num_rounds=1000))),
    "a round too many": ("wrong-plan", lambda server: server.order(replace(ORDER, server_round=4, number=6))),
    "a phase of its own": ("unknown-phase", lambda server: server.order(replace(ORDER, phase="spy"))),
    "the source's task": ("wrong-task", lambda server: server.order(replace(ORDER, task=Task.ADAPT_SOURCE))),
    "a run that never began": ("unknown-run", lambda server: server.order(run="r2")),
    "a run that is a path": ("run-name", lambda server: server.order(run="../../r1")),
    "other sites": ("wrong-sites", lambda server: server.order(replace(ORDER, domains=("source", "target-b")))),
    "one label": ("wrong-labels", lambda server: server.order(replace(ORDER, label_names=("background",)))),
    "style blocks": (
        "style-block",
        lambda server: server.order(replace(ORDER, style_blocks={"target-b": torch.zeros(2)})),
    ),
    "no envelope": (
        "no-envelope",
        lambda server: server.post("train.adapt_target", encode_order(ORDER, encode_weights(tiny_weights()))),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_a_code_and_no_work(server: Server, name: str) -> None:
    rule, attack = ATTACKS[name]
    answer = attack(server)
    assert answer.has_error()
    words, _ = split_words(str(answer.error.reason))
    assert words.endswith(f" failed: RefusalError [{rule}]; the reason is in this site's log")
    assert server.worked == []
    assert server.order().has_content()  # an attack does not stop the honest round


def test_a_round_is_worked_for_once_whatever_is_sent_again(server: Server) -> None:
    first = server.order()
    assert server.order().content["weights"]["0"].data == first.content["weights"]["0"].data  # type: ignore[union-attr]
    other = {**tiny_weights(), "scale": torch.tensor(1e-6)}
    assert "[replayed-round]" in _said(server.order(weights=other))
    assert server.order(SECOND).has_content()
    assert "[replayed-round]" in _said(server.order(weights=other))
    assert len(server.worked) == 2


@pytest.mark.fault("R-18")
def test_a_server_that_pretends_to_go_back_gets_three_answers_more_and_every_one_is_written_down(
    server: Server, tmp_path: Path
) -> None:
    others = [{**tiny_weights(), "scale": torch.tensor(number * 1e-6)} for number in range(10)]
    answers = [server.order(weights=weights, fall_backs=number) for number, weights in enumerate(others)]
    assert [answer.has_content() for answer in answers] == [True] * 4 + [False] * 6
    assert "[replayed-round]" in _said(answers[4])
    (log,) = (tmp_path / "work" / "target-a").rglob(AUDIT_LOG)
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [entry["fall_backs"] for entry in entries if entry["event"] == "order-received"] == list(range(10))
    assert len({entry["base"] for entry in entries if entry.get("message") == "reply"}) == 4


def test_introducing_itself_again_does_not_make_a_site_forget(server: Server) -> None:
    assert server.order().has_content()
    assert server.send(INTRODUCE, empty_content()).has_content()
    assert "[replayed-round]" in _said(server.order(weights={**tiny_weights(), "scale": torch.tensor(1e-6)}))
    assert "[wrong-plan]" in _said(server.send(INTRODUCE, empty_content(), plan="0" * 64))
    assert len(server.worked) == 1


def test_an_order_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_arithmetic(monkeypatch)
    policy = tmp_path / "egress.toml"
    policy.write_text("max-message-bytes = 2_000\n", encoding="utf-8")
    server = _serve(tmp_path, {"egress-policy": str(policy)})
    with server.grid:
        assert server.send(INTRODUCE, empty_content()).has_content()
        monkeypatch.setattr("client.correspondence.decode_order", lambda _content: pytest.fail("was opened"))
        answer = server.order(weights={**tiny_weights(), "weight": torch.zeros(1000)})
    assert "[order-bytes]" in _said(answer)


def test_a_site_stops_when_its_budget_for_the_run_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_arithmetic(monkeypatch)
    policy = tmp_path / "egress.toml"
    policy.write_text("max-run-bytes = 300\n", encoding="utf-8")
    server = _serve(tmp_path, {"egress-policy": str(policy)})
    with server.grid:
        assert server.send(INTRODUCE, empty_content()).has_content()  # 99 bytes
        assert server.order().has_content()  # 140
        assert "[run-bytes]" in _said(server.order(SECOND))
        assert server.send(INTRODUCE, empty_content(), run="r2").has_content()
        assert server.order(run="r2").has_content()  # a run has a budget of its own


def test_refusals_count_and_leave_even_when_the_budget_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_arithmetic(monkeypatch)
    policy = tmp_path / "egress.toml"
    policy.write_text("max-run-bytes = 2_000\n", encoding="utf-8")
    server = _serve(tmp_path, {"egress-policy": str(policy)})
    with server.grid:
        assert server.send(INTRODUCE, empty_content()).has_content()
        for _ in range(4):
            assert "[wrong-plan]" in _said(server.order(replace(ORDER, num_rounds=1000)))  # some 600 bytes each
        assert "[run-bytes]" in _said(server.order())
        assert "[wrong-plan]" in _said(server.order(replace(ORDER, num_rounds=1000)))


def test_a_policy_that_cannot_be_read_lets_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_arithmetic(monkeypatch)
    server = _serve(tmp_path, {"egress-policy": str(tmp_path / "nowhere.toml")})
    with server.grid:
        answer = server.send(INTRODUCE, empty_content())
    assert answer.error.reason == "query.introduce failed: ConfigError; the reason is in this site's log"


def test_words_of_a_failure_leave_unsigned_if_even_the_log_cannot_be_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/scans/DOE_JANE")

    monkeypatch.setattr("diffuse_uda.exchange.audit.AuditLog._write_head", full)
    assert server.order().error.reason == "train.adapt_target failed: OSError; the reason is in this site's log"
    monkeypatch.setattr("client.correspondence.answer_with_work", full)
    assert "DOE_JANE" not in str(server.order().error.reason)
    assert server.worked == []
