"""A federation small enough to train in a test and real enough to be poisoned: voxels in, two classes out, AdamW.

Every site has voxels of eight features; class 1 is one side of a plane that all sites share, seen through a shift and a
gain of the site's own. The model is a perceptron of 178 values, trained by the loop that real sites use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from diffuse_uda.config import AdaptConfig, DiffuseConfig, FederationConfig, StudyConfig, WarmUpConfig
from diffuse_uda.exchange.flower import decode_order, encode_reply
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName, Task
from diffuse_uda.training.fitting import fit
from diffuse_uda.training.schedule import RoundPlan
from diffuse_uda.types import AverageRule, ModelName, SiteRole, StateDict
from server.history import Event, RoundFinished, RoundRecord
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid

NUM_FEATURES = 8
NUM_VOXELS = 300
ROUNDS = 6

Attack = Callable[[SiteReply, StateDict, WorkOrder], SiteReply | RecordDict]
"""Makes what is sent out of the honest reply, the model that was received, and the order."""


def config(num_targets: int, rule: AverageRule = AverageRule.MEAN) -> StudyConfig:
    return StudyConfig(
        num_passes=1,
        warm_up=WarmUpConfig(num_rounds=1),
        adapt=AdaptConfig(
            num_rounds=ROUNDS, num_local_steps=15, learning_rate=0.02, source_weight=0.5, target_step_fraction=1.0
        ),
        diffuse=DiffuseConfig(num_rounds=1),
        federation=FederationConfig(min_targets=num_targets if rule is not AverageRule.MEAN else 1, rule=rule),
    )


def cards(num_targets: int) -> tuple[SiteCard, ...]:
    source = SiteCard(site_id="source", role=SiteRole.SOURCE, num_cases=4, label_names=("background", "ball"))
    return (
        source,
        *(SiteCard(site_id=f"target-{index}", role=SiteRole.TARGET, num_cases=4) for index in range(num_targets)),
    )


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(NUM_FEATURES, 16), nn.ReLU(), nn.Linear(16, 2))


def first_weights() -> StateDict:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.3 for name, tensor in network().state_dict().items()
    }


def voxels(site: int, *, num: int = NUM_VOXELS) -> tuple[Tensor, Tensor]:
    """Features and classes of a site; the same for equal numbers."""
    generator = torch.Generator().manual_seed(100 + site)
    plane = torch.randn(NUM_FEATURES, generator=torch.Generator().manual_seed(7))
    clean = torch.randn((num, NUM_FEATURES), generator=generator)
    labels = (clean @ plane > 0.5).long()
    shift = 0.1 * torch.randn(NUM_FEATURES, generator=generator)
    return clean * (1.0 + 0.1 * torch.randn(NUM_FEATURES, generator=generator)) + shift, labels


def trained(weights: Mapping[str, Tensor], site: int, order: WorkOrder, *, flip_labels: bool = False) -> StateDict:
    """What honest work makes of the weights; with flipped labels, what work on wrong labels makes of them."""
    model = network()
    model.load_state_dict(dict(weights))
    features, labels = voxels(site)
    labels = 1 - labels if flip_labels else labels
    draw = torch.Generator().manual_seed(1000 * site + order.server_round)

    def loss_at(_step: int) -> Tensor:
        batch = torch.randint(len(labels), (64,), generator=draw)
        return nn.functional.cross_entropy(model(features[batch]), labels[batch])

    fit(model, loss_at, RoundPlan.of(config(2).adapt, order.server_round))
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def dice(weights: Mapping[str, Tensor], num_targets: int) -> float:
    """Dice of class 1 on voxels of the honest targets that nobody trained on."""
    model = network()
    model.load_state_dict(dict(weights))
    scores = []
    for site in range(1, num_targets):  # the last target is the one that attacks
        features, labels = voxels(site, num=3 * NUM_VOXELS)
        features, labels = features[NUM_VOXELS:], labels[NUM_VOXELS:]
        predicted = model(features).argmax(dim=1)
        overlap = float((predicted * labels).sum())
        scores.append(2.0 * overlap / max(float(predicted.sum() + labels.sum()), 1.0))
    return sum(scores) / len(scores)


class VoxelFederation:
    """One source and some targets; the last target sends what an attack makes of its honest reply."""

    def __init__(
        self,
        folder: Path,
        attack: Attack | None = None,
        *,
        num_targets: int = 4,
        from_round: int = 1,
        flip_labels: bool = False,
        rule: AverageRule = AverageRule.MEAN,
    ) -> None:
        self.sites = cards(num_targets)
        self.villain = self.sites[-1].site_id
        self.num_targets, self.attack, self.from_round, self.flips = num_targets, attack, from_round, flip_labels
        self.grid = LocalGrid(self._client(), [{"site-id": card.site_id} for card in self.sites], {})
        self.events: list[Event] = []
        self.federation = FederatedPhases(
            config=config(num_targets, rule),
            mail=Mail(self.grid),
            sites=self.sites,
            node_ids={card.site_id: FIRST_NODE_ID + index for index, card in enumerate(self.sites)},
            models={ModelName.SEGMENTER: first_weights()},
            spool_dir=folder,
            notify=self.events.append,
        )
        self.folder = folder

    def run(self, num_rounds: int = ROUNDS) -> StateDict:
        """Carry out rounds of adaptation."""
        phase = next(phase for phase in build_method(self.federation.config).phases if phase.name is PhaseName.ADAPT)
        with self.grid:
            for server_round in range(1, num_rounds + 1):
                self.federation.run_step(Step(phase=phase, server_round=server_round, number=server_round))
        return self.federation.models[ModelName.SEGMENTER]

    @property
    def records(self) -> list[RoundRecord]:
        return [event.record for event in self.events if isinstance(event, RoundFinished)]

    def ends(self, site_id: str | None = None) -> list[str]:
        """How every round ended for a site, for the last target where none is named."""
        return [record.sites[site_id or self.villain].state.value for record in self.records]

    def reasons(self) -> list[str]:
        return [record.sites[self.villain].reason for record in self.records]

    @property
    def dice(self) -> float:
        return dice(self.federation.models[ModelName.SEGMENTER], self.num_targets)

    def _client(self) -> ClientApp:
        app = ClientApp()

        def handle(message: Message, context: Context) -> Message:
            site_id = str(context.node_config["site-id"])
            order, received = decode_order(message.content)
            site = [card.site_id for card in self.sites].index(site_id)
            attacks = site_id == self.villain and order.server_round >= self.from_round
            weights = trained(received, site, order, flip_labels=attacks and self.flips)
            reply: SiteReply | RecordDict = SiteReply(num_examples=4, weights=weights, metrics={"loss": 0.5})
            if attacks and self.attack is not None:
                assert isinstance(reply, SiteReply)
                reply = self.attack(reply, received, order)
            content = encode_reply(reply) if isinstance(reply, SiteReply) else reply
            return Message(content, reply_to=message)

        for task in Task:
            app.train(task.value)(handle)
        return app


def with_weights(change: Callable[[str, Tensor, Tensor], Tensor]) -> Attack:
    """An attack on every tensor: name, honest tensor, received tensor -> sent tensor."""

    def attack(reply: SiteReply, received: StateDict, _order: WorkOrder) -> SiteReply:
        weights = reply.weights or {}
        return replace(reply, weights={name: change(name, tensor, received[name]) for name, tensor in weights.items()})

    return attack
