"""One round after another: orders out, replies in, checks, the average.

Memory: a model and its packed form while orders go out; then the model waits on disk, and so does every accepted reply;
one reply at a time is in memory, and at last the average, built tensor by tensor. That is never more than two models,
beside what rests: the other network, the running mean of the denoiser, and the segmenters of single targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffuse_uda.algorithms.ema import update_ema_
from diffuse_uda.algorithms.update_change import UpdateChange
from diffuse_uda.config import MIN_TARGETS_OF_ROBUST_RULE, StudyConfig
from diffuse_uda.errors import QuorumError
from diffuse_uda.exchange.envelopes import Content, base_digest, digests
from diffuse_uda.exchange.flower import encode_order, encode_weights, work_type
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.landmarks import Landmark, passing
from diffuse_uda.methods.phase import Exchange, Phase, PhaseName, Task
from diffuse_uda.types import AverageRule, ModelName, StateDict
from server.averaging import SpooledUpdate, average_round
from server.history import (
    Listener,
    RoundFinished,
    RoundRecord,
    RoundStarted,
    SiteRecord,
    SiteReplied,
    SiteState,
    seconds_at_work,
)
from server.inspection import Inspector
from server.letters import Letter, Patience
from server.mail import Mail
from server.spool import SpooledWeights, spooled
from server.update_gate import UpdateGate
from server.workflow import Step, assignments, require_quorum, work_order

AWAY = frozenset({SiteState.ABSENT, SiteState.SILENT})
"""How a round ends for a site that is not waited for at the beginning of the next one."""


@dataclass(kw_only=True, slots=True)
class _Round:
    """What has come of a round so far."""

    records: dict[str, SiteRecord] = field(default_factory=dict)
    updates: dict[str, SpooledUpdate] = field(default_factory=dict)
    changes: dict[str, UpdateChange] = field(default_factory=dict)


@dataclass(kw_only=True)
class FederatedPhases:
    """The global models, and the sites that train them."""

    config: StudyConfig
    mail: Mail
    sites: tuple[SiteCard, ...]
    """In the order of their domains."""
    node_ids: Mapping[str, int]
    """Flower's address of every site."""
    models: dict[ModelName, StateDict]
    """Raw averages; the next round trains them further."""
    spool_dir: Path
    """Existing folder, on a disk with room for one model a site."""
    notify: Listener
    clock: Callable[[], float] = time.monotonic
    denoiser_mean: StateDict | None = None
    """Running mean of the denoiser over its rounds; it is what renders."""
    own: dict[int, StateDict] = field(default_factory=dict)
    """Segmenters of single targets, by domain; a target without one has the common model."""
    last_used: dict[str, int] = field(default_factory=dict)
    """Number of the last round in which each site's reply counted."""
    away: set[str] = field(default_factory=set)
    """Sites that were absent or silent in the last round that asked them."""

    def __post_init__(self) -> None:
        """Build the gate; the history of accepted updates lies beside the spool."""
        self.gate = UpdateGate(config=self.config, sites=self.sites, folder=self.spool_dir)

    def run_step(self, step: Step) -> RoundRecord:
        """Carry out one round; if the phase exchanges weights, the average replaces the model.

        In a phase for one target that target's own model takes the place of the common one, which stays as it is.

        Raises:
            QuorumError: If too few sites replied usably; the models are as they were, and the listener knows the round.
            AggregationError: If accepted updates cannot be averaged.
        """
        model, partner = step.phase.model, step.phase.partner
        if partner is None:
            return self._run_round(step)
        common = self.models[model]
        self.models[model] = self.own.get(partner, common)
        try:
            record = self._run_round(step)
            self.own[partner] = self.models[model]
        finally:
            self.models[model] = common
        return record

    def _run_round(self, step: Step) -> RoundRecord:
        started = self.clock()
        tasks = assignments(step.phase, self.sites)
        num_tensors = len(self.models[step.phase.model])
        letters = self._send_orders(step, tasks)
        with ExitStack() as spool:
            sent = self._set_aside(step.phase, spool)
            round_ = self._gather(step, tasks, letters, sent, spool)
            missed = self._missed_quorum(step, round_.records)
            if sent is not None and missed is None:
                average, shares = average_round(self.config, step.phase, self.sites, round_.updates, sent)
                self.gate.remember(step, {site_id: round_.changes[site_id] for site_id in shares})
                passing(Landmark.MID_AGGREGATE)
                self._replace_model(step.phase, average)
                for site_id, share in shares.items():
                    round_.records[site_id] = replace(round_.records[site_id], share=share)
            elif sent is not None:
                self.models[step.phase.model] = dict(sent)
        names = {node_id: site_id for site_id, node_id in self.node_ids.items()}
        round_record = RoundRecord(
            phase=step.phase.label,
            row=step.phase.row,
            model=step.phase.model,
            server_round=step.server_round,
            num_rounds=step.phase.num_rounds,
            num_tensors=num_tensors,
            sites={site_id: round_.records[site_id] for site_id in tasks},
            seconds=self.clock() - started,
            seconds_at_work=seconds_at_work(round_.records.values()),
            ignored=tuple(
                f"{names.get(reply.node_id, reply.node_id)}: {reply.why.value}, {reply.group}"
                for reply in self.mail.take_ignored()
            ),
        )
        self.notify(RoundFinished(record=round_record))
        away = {site_id for site_id, record in round_.records.items() if record.state in AWAY}
        self.away = (self.away - tasks.keys()) | away
        if missed is not None:
            raise missed
        used = [site_id for site_id, record in round_.records.items() if record.state is SiteState.USED]
        self.last_used.update(dict.fromkeys(used, step.number))
        return round_record

    def _send_orders(self, step: Step, tasks: Mapping[str, Task]) -> dict[str, Letter]:
        """Send what can be sent; a letter for a site that is away waits for it to appear."""
        packed = encode_weights(self._outgoing(step.phase))
        own = {domain: encode_weights(weights) for domain, weights in self._own_models(step.phase).items()}
        going_out = {
            card.site_id: own.get(domain, packed) for domain, card in enumerate(self.sites) if card.site_id in tasks
        }
        bases = {id(weights): base_digest(digests(weights)) for weights in going_out.values()}  # most share one
        self.notify(
            RoundStarted(
                phase=step.phase.label,
                server_round=step.server_round,
                num_rounds=step.phase.num_rounds,
                site_ids=tuple(tasks),
                bases={site_id: bases[id(weights)] for site_id, weights in going_out.items()},
            )
        )
        passing(Landmark.BEFORE_BROADCAST)
        online = self.mail.sessions()
        gone = {site_id for site_id in self.away.intersection(tasks) if self.node_ids[site_id] not in online}
        # Nobody waits again in every round for a site that has been away, unless the round cannot do without it.
        is_needed = self._quorum_error(step, tasks, tasks.keys() - gone) is not None
        letters = {}
        for site_id, task in tasks.items():
            if self.node_ids[site_id] in online:
                letters[site_id] = self._send_order(step, site_id, task, going_out[site_id])
            else:
                waits = is_needed or site_id not in gone
                letters[site_id] = Letter(
                    node_id=self.node_ids[site_id],
                    message_id=None,
                    group=_group(step),
                    gather_s=self.config.federation.join_timeout_s if waits else 0.0,
                )
        return letters

    def _send_order(self, step: Step, site_id: str, task: Task, packed: Content) -> Letter:
        order = work_order(step, task, self.sites, after=self.last_used.get(site_id, 0))
        return self.mail.send(
            self.node_ids[site_id],
            work_type(task),
            encode_order(order, packed),
            group=_group(step),
            lifetime_s=self.config.federation.round_timeout_s,
        )

    def _set_aside(self, phase: Phase, spool: ExitStack) -> SpooledWeights | None:
        """Put the model that is being trained on disk: nobody needs its values here while the sites work."""
        if phase.exchange is Exchange.NOTHING:
            return None
        sent = spooled(self.models[phase.model], self.spool_dir)
        del self.models[phase.model]
        spool.callback(sent.close)
        return sent

    def _outgoing(self, phase: Phase) -> StateDict:
        """Weights of a phase's model: training continues the raw average, rendering takes the running mean."""
        renders = phase.model is ModelName.DENOISER and phase.exchange is Exchange.NOTHING
        if renders and self.denoiser_mean is not None:
            return self.denoiser_mean
        return self.models[phase.model]

    def _own_models(self, phase: Phase) -> Mapping[int, StateDict]:
        """Models of single targets, by domain, in a phase that is about what a site has now."""
        is_local = phase.model is ModelName.SEGMENTER and phase.exchange is Exchange.NOTHING
        return self.own if is_local else {}

    def _gather(
        self,
        step: Step,
        tasks: Mapping[str, Task],
        letters: Mapping[str, Letter],
        sent: SpooledWeights | None,
        spool: ExitStack,
    ) -> _Round:
        """Judge the answers in the order in which they come, and all of them together when the last one is in."""
        site_ids = {letter.node_id: site_id for site_id, letter in letters.items()}
        inspector = Inspector(
            config=self.config,
            step=step,
            label_names=self.sites[0].label_names,
            gate=self.gate,
            run_dir=self.spool_dir,
            sent=sent,
        )

        def send_again(node_id: int) -> Letter:
            site_id = site_ids[node_id]
            weights = sent if sent is not None else self._outgoing(step.phase)
            domain = next(domain for domain, card in enumerate(self.sites) if card.site_id == site_id)
            packed = encode_weights(self._own_models(step.phase).get(domain, dict(weights)))
            return self._send_order(step, site_id, tasks[site_id], packed)

        federation, round_ = self.config.federation, _Round()
        patience = Patience(idle_s=federation.idle_timeout_s, limit_s=federation.round_timeout_s)
        for answer in self.mail.answers(letters.values(), patience=patience, send_again=send_again):
            site_id = site_ids[answer.node_id]
            inspected = inspector.inspect(site_id, answer)
            record = replace(inspected.record, bytes_sent=letters[site_id].num_bytes)
            if inspected.update is not None and inspected.change is not None:
                spool.callback(inspected.update.weights.close)
                round_.updates[site_id], round_.changes[site_id] = inspected.update, inspected.change
            self._note(step, round_, site_id, record)
            passing(Landmark.MID_GATHER)
        if sent is not None:
            for site_id, reason in self.gate.outliers(step, round_.changes, round_.updates, sent).items():
                update = round_.updates.pop(site_id)
                inspector.quarantine(site_id, reason, update.weights)
                record = replace(round_.records[site_id], state=SiteState.REJECTED, reason=reason)
                self._note(step, round_, site_id, record)
        return round_

    def _note(self, step: Step, round_: _Round, site_id: str, record: SiteRecord) -> None:
        round_.records[site_id] = record
        self.notify(SiteReplied(phase=step.phase.label, server_round=step.server_round, site_id=site_id, record=record))

    def _missed_quorum(self, step: Step, records: Mapping[str, SiteRecord]) -> QuorumError | None:
        used = [site_id for site_id, record in records.items() if record.state is SiteState.USED]
        return self._quorum_error(step, list(records), used)

    def _quorum_error(self, step: Step, asked: Collection[str], used: Collection[str]) -> QuorumError | None:
        federation = self.config.federation
        at_least = 0 if federation.rule is AverageRule.MEAN else MIN_TARGETS_OF_ROBUST_RULE
        try:
            require_quorum(step, self.sites, asked=asked, used=used, quorum=federation.quorum, at_least=at_least)
        except QuorumError as error:
            return error
        return None

    def _replace_model(self, phase: Phase, average: StateDict) -> None:
        self.models[phase.model] = average
        if phase.name is PhaseName.DIFFUSE:  # a mean that began with untrained weights would render them for ever
            if self.denoiser_mean is None:
                self.denoiser_mean = {name: tensor.clone() for name, tensor in average.items()}
            else:
                update_ema_(self.denoiser_mean, average, self.config.diffuse.server_ema_decay)


def _group(step: Step) -> str:
    """Phase and round, as Flower and the history name them."""
    return f"{step.phase.label}-{step.server_round}"
