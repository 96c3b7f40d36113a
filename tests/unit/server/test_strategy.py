"""A round: orders out, replies judged, an average that can be worked out by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from diffuse_uda.config import AdaptConfig, DiffuseConfig, FederationConfig, RefineConfig, StudyConfig, WarmUpConfig
from diffuse_uda.errors import QuorumError
from diffuse_uda.exchange.flower import ErrorCode, decode_order, encode_reply, error_reply
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName, Task
from diffuse_uda.types import ModelName, StateDict
from server.history import Event, RoundFinished, RoundRecord, RoundStarted, SiteReplied
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid
from tests.arithmetic_tasks import ROUND_OF_ALL, SHIFT
from tests.fake_federation import SOURCE, TARGET_A, TARGET_B, tiny_weights

SITES = (SOURCE, TARGET_A, TARGET_B)
NODE_IDS = {card.site_id: FIRST_NODE_ID + index for index, card in enumerate(SITES)}
CONFIG = StudyConfig(
    num_passes=1,
    # With these learning rates the server lets weights move by whole tens.
    warm_up=WarmUpConfig(num_rounds=1, learning_rate=10.0),
    adapt=AdaptConfig(num_rounds=2, source_weight=0.5, learning_rate=10.0),
    diffuse=DiffuseConfig(num_rounds=2, source_weight=0.5, server_ema_decay=0.75, learning_rate=10.0),
    refine=RefineConfig(learning_rate=10.0),
    federation=FederationConfig(round_timeout_s=10.0),
)
PHASES = {phase.name: phase for phase in build_method(CONFIG).phases}

Answer = SiteReply | Message | RecordDict | None
Behaviour = Callable[[str, WorkOrder, StateDict, Message], Answer]


def train(site_id: str, order: WorkOrder, weights: StateDict, _message: Message) -> SiteReply:
    trained = {
        name: tensor + SHIFT[site_id] if tensor.is_floating_point() else tensor + 1 for name, tensor in weights.items()
    }
    return SiteReply(num_examples=1, weights=trained, metrics={"loss": 0.5})


def client(behaviour: Behaviour) -> ClientApp:
    """A client app that decodes, does what the test says, and encodes."""
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        answer = behaviour(str(context.node_config["site-id"]), *decode_order(message.content), message)
        if isinstance(answer, SiteReply):
            return Message(encode_reply(answer), reply_to=message)
        return Message(answer, reply_to=message) if isinstance(answer, RecordDict) else answer  # type: ignore[return-value]

    for task in Task:
        app.train(task.value)(handle)
    return app


class Run:
    """A federation in threads, and everything its listener was told."""

    def __init__(self, behaviour: Behaviour, folder: Path, config: StudyConfig = CONFIG) -> None:
        self.grid = LocalGrid(
            client(behaviour),
            [{"site-id": card.site_id} for card in SITES],
            {},
            num_workers=3,
            on_return=lambda reply: None if reply.has_error() and reply.error.code == 999 else reply,
        )
        self.events: list[Event] = []
        self.federation = FederatedPhases(
            config=config,
            mail=Mail(self.grid),
            sites=SITES,
            node_ids=NODE_IDS,
            models={ModelName.SEGMENTER: tiny_weights(), ModelName.DENOISER: tiny_weights()},
            spool_dir=folder,
            notify=self.events.append,
        )

    def step(self, name: PhaseName, server_round: int = 1) -> dict[str, tuple[str, str]]:
        with self.grid:
            record = self.federation.run_step(Step(phase=PHASES[name], server_round=server_round))
        return {site_id: (site.state.value, site.reason) for site_id, site in record.sites.items()}

    @property
    def last_record(self) -> RoundRecord:
        last = self.events[-1]
        assert isinstance(last, RoundFinished)
        return last.record

    @property
    def weight(self) -> float:
        first, second = self.federation.models[ModelName.SEGMENTER]["weight"].tolist()
        assert first == second == self.federation.models[ModelName.SEGMENTER]["scale"].item()
        return float(first)


def test_a_round_of_all_sites_is_the_weighted_mean(tmp_path: Path) -> None:
    run = Run(train, tmp_path)
    assert run.step(PhaseName.ADAPT) == dict.fromkeys(["source", "target-a", "target-b"], ("used", ""))
    # 1/2 * 1 + 1/2 * (1/4 * 10 + 3/4 * 20): the targets share their half by the cases on their cards, 1 and 3.
    assert run.weight == ROUND_OF_ALL == 9.25
    assert run.federation.models[ModelName.SEGMENTER]["count"].item() == 1
    assert run.federation.denoiser_mean is None
    record = run.last_record
    assert [site.share for site in record.sites.values()] == [0.5, 0.125, 0.375]
    assert record.num_tensors == 3
    assert all(site.bytes_sent > 20 and site.bytes_received > 20 for site in record.sites.values())
    assert [path.name for path in tmp_path.iterdir()] == ["accepted.jsonl"]


def test_listeners_hear_of_a_round_as_it_happens(tmp_path: Path) -> None:
    run = Run(train, tmp_path)
    run.step(PhaseName.ADAPT)
    assert [type(event) for event in run.events] == [RoundStarted, *[SiteReplied] * 3, RoundFinished]
    assert run.events[0] == RoundStarted(
        phase="adapt", server_round=1, num_rounds=2, site_ids=("source", "target-a", "target-b")
    )


@pytest.mark.fault("R-10")
def test_the_order_of_replies_does_not_change_a_single_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    sent = {name: torch.randn(1000, generator=generator) * 2.0**index for index, name in enumerate(SHIFT)}
    results = []
    for order in permutations(SHIFT):
        done: list[str] = []

        def in_turn(
            site_id: str,
            _order: WorkOrder,
            weights: StateDict,
            _message: Message,
            wanted: tuple[str, ...] = order,
            done: list[str] = done,
        ) -> SiteReply:
            while len(done) < wanted.index(site_id):
                time.sleep(0.001)
            done.append(site_id)
            return SiteReply(num_examples=1, weights={"w": sent[site_id]})

        run = Run(in_turn, tmp_path)
        run.federation.models[ModelName.SEGMENTER] = {"w": torch.zeros(1000)}
        run.step(PhaseName.ADAPT)
        results.append(run.federation.models[ModelName.SEGMENTER]["w"])
    assert all(torch.equal(result, results[0]) for result in results)


def _at(name: str, answer: Callable[[SiteReply, Message], Answer]) -> Behaviour:
    """One site misbehaves, the others train."""

    def behave(site_id: str, order: WorkOrder, weights: StateDict, message: Message) -> Answer:
        reply = train(site_id, order, weights, message)
        return answer(reply, message) if site_id == name else reply

    return behave


def _with(**weights: torch.Tensor) -> Callable[[SiteReply, Message], SiteReply]:
    return lambda reply, _message: replace(reply, weights={**(reply.weights or {}), **weights})


def _raise(_reply: SiteReply, _message: Message) -> SiteReply:
    msg = "DOE_JANE"
    raise ValueError(msg)


BAD = {
    "not a number": (_with(weight=torch.tensor([math.nan, 0.0])), "rejected", "NaN or infinite"),
    "broadcastable": (_with(weight=torch.tensor([1.0])), "rejected", "wanted torch.float32 of shape (2,)"),
    "double": (_with(scale=torch.tensor(0.0, dtype=torch.float64)), "rejected", "torch.float64"),
    "extra": (_with(image=torch.zeros(9)), "rejected", "unknown tensors ['image']"),
    "none": (lambda reply, _message: replace(reply, weights=None), "rejected", "holds no tensors"),
    "no cases": (lambda reply, _message: replace(reply, num_examples=0), "rejected", "num_examples is 0"),
    "gibberish": (lambda _reply, _message: RecordDict({"spy": ConfigRecord()}), "rejected", "lacks the records"),
    "sealed": (
        lambda _reply, message: error_reply(ErrorCode.TASK_FAILED, "adapt failed: ValueError", message),
        "failed",
        "adapt failed: ValueError",
    ),
    "unsealed": (_raise, "failed", "Flower reports error 2; the reason is in the site's log"),
    "offline": (lambda _reply, message: Message(Error(5, "x"), reply_to=message), "lost", "the site went offline"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_target_is_left_out_and_the_round_goes_on(case: str, tmp_path: Path) -> None:
    answer, state, reason = BAD[case]
    run = Run(_at("target-b", answer), tmp_path)
    states = run.step(PhaseName.ADAPT)
    assert states["target-b"][0] == state
    assert reason in states["target-b"][1]
    assert "JANE" not in states["target-b"][1]
    assert run.weight == 0.5 * 1.0 + 0.5 * 10.0


def test_a_reply_that_never_comes_is_overdue_and_its_time_is_the_limit(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"federation": FederationConfig(round_timeout_s=0.3)})
    run = Run(_at("target-b", lambda _reply, message: Message(Error(999, ""), reply_to=message)), tmp_path, config)
    assert run.step(PhaseName.ADAPT)["target-b"] == ("overdue", "no answer within 0.3 s")
    assert run.weight == 5.5
    assert run.last_record.seconds < 5.0


def test_a_bad_source_ends_the_study_and_leaves_the_model_alone(tmp_path: Path) -> None:
    run = Run(_at("source", _raise), tmp_path)
    with pytest.raises(QuorumError, match=r"phase adapt, round 1 of 2: no usable reply from \['source'\]"):
        run.step(PhaseName.ADAPT)
    assert run.weight == 0.0
    sites = run.last_record.sites
    assert [site.state.value for site in sites.values()] == ["failed", "used", "used"]
    assert {site.share for site in sites.values()} == {0.0}


def test_fewer_cases_in_a_reply_change_no_share_and_more_than_on_the_card_are_refused(tmp_path: Path) -> None:
    # target-b introduced itself with 3 cases; `train` claims 1.
    run = Run(_at("target-b", lambda reply, _message: replace(reply, num_examples=4)), tmp_path)
    states = run.step(PhaseName.ADAPT)
    assert states["target-b"] == (
        "rejected",
        "site 'target-b': the reply claims 4 cases, the site introduced itself with 3",
    )
    assert run.weight == 5.5


def test_a_round_of_the_source_alone_is_the_source_s(tmp_path: Path) -> None:
    run = Run(train, tmp_path)
    assert list(run.step(PhaseName.WARM_UP)) == ["source"]
    assert run.weight == 1.0


def test_weights_sent_where_none_are_exchanged_are_rejected(tmp_path: Path) -> None:
    run = Run(
        lambda site_id, order, weights, message: (
            train(site_id, order, weights, message)
            if site_id == "target-a"
            else SiteReply(num_examples=1, metrics={"pairs": 2.0})
        ),
        tmp_path,
    )
    states = run.step(PhaseName.PSEUDO_LABEL)
    assert states["target-a"][0] == "rejected"
    assert "which exchanges none" in states["target-a"][1]
    assert states["target-b"] == ("used", "")
    assert run.weight == 0.0


def test_the_running_mean_renders_and_the_raw_average_trains_on(tmp_path: Path) -> None:
    received: dict[tuple[Task, int], float] = {}

    def watch(site_id: str, order: WorkOrder, weights: StateDict, message: Message) -> Answer:
        received[order.task, order.server_round] = weights["scale"].item()
        if order.task is Task.SYNTHESISE:
            return SiteReply(num_examples=1, metrics={"pairs": 1.0})
        return train(site_id, order, weights, message)

    run = Run(watch, tmp_path)
    diffuse, synthesise = PHASES[PhaseName.DIFFUSE], PHASES[PhaseName.SYNTHESISE]
    with run.grid:
        for step in (Step(phase=diffuse, server_round=1), Step(phase=diffuse, server_round=2)):
            run.federation.run_step(step)
        run.federation.run_step(Step(phase=synthesise, server_round=1))
    # The raw average goes 0, 9.25, 18.5. Its mean starts at 9.25 and moves a quarter of the way to 18.5.
    assert received[Task.DIFFUSE, 1] == 0.0
    assert received[Task.DIFFUSE, 2] == 9.25
    assert received[Task.SYNTHESISE, 1] == 9.25 + 0.25 * 9.25
    assert run.federation.models[ModelName.DENOISER]["scale"].item() == 18.5
    assert run.weight == 0.0


def test_without_a_round_of_diffusion_the_denoiser_renders_as_it_is(tmp_path: Path) -> None:
    received: list[float] = []

    def watch(_site_id: str, _order: WorkOrder, weights: StateDict, _message: Message) -> SiteReply:
        received.append(weights["scale"].item())
        return SiteReply(num_examples=1)

    Run(watch, tmp_path).step(PhaseName.SYNTHESISE)
    assert received == [0.0, 0.0, 0.0]


def test_every_domain_keeps_the_row_its_own_site_trained_and_an_absent_site_keeps_its_old_one(tmp_path: Path) -> None:
    def train_own_row(site_id: str, order: WorkOrder, weights: StateDict, message: Message) -> Answer:
        if site_id == "target-b":
            return error_reply(ErrorCode.TASK_FAILED, "failed", message)
        trained = {name: tensor.clone() for name, tensor in weights.items()}
        trained["class_table.rows"][order.domains.index(site_id)] += SHIFT[site_id]
        return SiteReply(num_examples=1, weights=trained, metrics={"loss": 0.5})

    run = Run(train_own_row, tmp_path)
    run.federation.models[ModelName.DENOISER]["class_table.rows"] = torch.full((4, 2), 100.0)
    run.step(PhaseName.DIFFUSE)
    # Averaged, the source's row would be 100.5 (share 1/2); it belongs to the source alone, so it is 101.
    rows = run.federation.models[ModelName.DENOISER]["class_table.rows"]
    assert rows.tolist() == [[101.0, 101.0], [110.0, 110.0], [100.0, 100.0], [100.0, 100.0]]


def test_a_phase_for_one_target_gives_it_a_model_of_its_own_and_leaves_the_common_one(tmp_path: Path) -> None:
    received: dict[tuple[str, str], float] = {}

    def watch(site_id: str, order: WorkOrder, weights: StateDict, message: Message) -> Answer:
        received[order.phase, site_id] = weights["scale"].item()
        if order.task in {Task.EVALUATE, Task.PSEUDO_LABEL}:
            return SiteReply(num_examples=1)
        return train(site_id, order, weights, message)

    run, phases = Run(watch, tmp_path), {phase.label: phase for phase in build_method(CONFIG, num_targets=2).phases}
    with run.grid:
        for label, server_round in (("refine-for-1", 1), ("refine-for-1", 2), ("evaluate-diffuse-uda", 1)):
            record = run.federation.run_step(Step(phase=phases[label], server_round=server_round))
    # Source and target-a share the average in halves: (1 + 10) / 2 a round. Nobody else took part.
    assert run.weight == 0.0
    assert {domain: own["scale"].item() for domain, own in run.federation.own.items()} == {1: 11.0}
    assert received["refine-for-1", "source"] == received["refine-for-1", "target-a"] == 5.5
    assert ("refine-for-1", "target-b") not in received
    # The target is evaluated with its own model, the other one still with the common one.
    assert received["evaluate-diffuse-uda", "target-a"] == 11.0
    assert received["evaluate-diffuse-uda", "target-b"] == 0.0
    assert record.phase == "evaluate-diffuse-uda"


def test_a_failed_round_for_one_target_leaves_the_common_model_alone(tmp_path: Path) -> None:
    run = Run(_at("source", _raise), tmp_path)
    phase = next(phase for phase in build_method(CONFIG, num_targets=2).phases if phase.partner == 1)
    with run.grid, pytest.raises(QuorumError):
        run.federation.run_step(Step(phase=phase, server_round=1))
    assert run.weight == 0.0
    assert run.federation.own == {}
