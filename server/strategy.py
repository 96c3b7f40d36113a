"""One round after another: orders out, replies in, checks, the average.

Memory: a model and its packed form while orders go out; then the model waits on disk, and so does every accepted reply;
one reply at a time is in memory, and at last the average, built tensor by tensor. That is never more than two models,
beside what rests: the other network, the running mean of the denoiser, and the segmenters of single targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffuse_uda.algorithms.aggregation import check_update, federated_average, site_weights
from diffuse_uda.algorithms.domain_rows import DOMAIN_TABLES, owned_rows
from diffuse_uda.algorithms.ema import update_ema_
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import AggregationError, ExchangeError, QuorumError
from diffuse_uda.exchange.flower import decode_reply, encode_order, encode_weights, num_bytes, work_type
from diffuse_uda.exchange.orders import SiteCard, SiteReply
from diffuse_uda.methods.phase import Exchange, Phase, PhaseName, Task
from diffuse_uda.types import ModelName, StateDict, WeightUpdate
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
from server.mail import Answer, Letter, Mail, Outcome
from server.spool import SpooledWeights
from server.workflow import Step, assignments, fit_config, require_quorum, work_order

_ENDS = {
    Outcome.FAILED: SiteState.FAILED,
    Outcome.UNASSIGNED: SiteState.FAILED,
    Outcome.NOTHING: SiteState.MISSING,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SpooledUpdate:
    """An accepted update; its weights are read from the disk one tensor at a time."""

    site_id: str
    num_examples: int
    weights: SpooledWeights


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
        label, server_round = step.phase.label, step.server_round
        self.notify(
            RoundStarted(
                phase=label, server_round=server_round, num_rounds=step.phase.num_rounds, site_ids=tuple(tasks)
            )
        )
        num_tensors = len(self.models[step.phase.model])
        letters = self._send_orders(step, tasks)
        records: dict[str, SiteRecord] = {}
        updates: dict[str, SpooledUpdate] = {}
        with ExitStack() as spool:
            sent = self._set_aside(step.phase, spool)
            for site_id, record, update in self._replies(step, letters, {} if sent is None else sent.forms()):
                records[site_id] = record
                if update is not None:
                    updates[site_id] = update
                    spool.callback(update.weights.close)
                self.notify(SiteReplied(phase=label, server_round=server_round, site_id=site_id, record=record))
            missed = self._missed_quorum(step, records)
            if sent is not None and missed is None:
                for site_id, share in self._average(step.phase, updates, sent).items():
                    records[site_id] = replace(records[site_id], share=share)
            elif sent is not None:
                self.models[step.phase.model] = dict(sent)
        round_record = RoundRecord(
            phase=label,
            row=step.phase.row,
            model=step.phase.model,
            server_round=server_round,
            num_rounds=step.phase.num_rounds,
            num_tensors=num_tensors,
            sites={site_id: records[site_id] for site_id in tasks},
            seconds=self.clock() - started,
            seconds_at_work=seconds_at_work(records.values()),
        )
        self.notify(RoundFinished(record=round_record))
        if missed is not None:
            raise missed
        return round_record

    def _send_orders(self, step: Step, tasks: Mapping[str, Task]) -> dict[str, Letter]:
        packed = encode_weights(self._outgoing(step.phase))
        # Where a phase is about what a site has now, a target with a model of its own gets that one.
        is_local = step.phase.model is ModelName.SEGMENTER and step.phase.exchange is Exchange.NOTHING
        own = {domain: encode_weights(weights) for domain, weights in self.own.items() if is_local}
        domains = {card.site_id: domain for domain, card in enumerate(self.sites)}
        return {
            site_id: self.mail.send(
                self.node_ids[site_id],
                work_type(task),
                encode_order(work_order(step, task, self.sites), own.get(domains[site_id], packed)),
                group=f"{step.phase.label}-{step.server_round}",
                lifetime_s=self.config.federation.round_timeout_s,
            )
            for site_id, task in tasks.items()
        }

    def _set_aside(self, phase: Phase, spool: ExitStack) -> SpooledWeights | None:
        """Put the model that is being trained on disk: nobody needs its values here while the sites work."""
        if phase.exchange is Exchange.NOTHING:
            return None
        sent = SpooledWeights(self.models.pop(phase.model), self.spool_dir)
        spool.callback(sent.close)
        return sent

    def _outgoing(self, phase: Phase) -> StateDict:
        """Weights of a phase's model: training continues the raw average, rendering takes the running mean."""
        renders = phase.model is ModelName.DENOISER and phase.exchange is Exchange.NOTHING
        if renders and self.denoiser_mean is not None:
            return self.denoiser_mean
        return self.models[phase.model]

    def _replies(
        self, step: Step, letters: Mapping[str, Letter], forms: StateDict
    ) -> Iterator[tuple[str, SiteRecord, SpooledUpdate | None]]:
        """Judge the answers in the order in which they come."""
        site_ids = {letter.node_id: site_id for site_id, letter in letters.items()}
        timeout_s = self.config.federation.round_timeout_s
        for answer in self.mail.answers(letters.values(), timeout_s=timeout_s):
            site_id = site_ids[answer.node_id]
            record, update = self._judge(step.phase, site_id, answer, forms)
            yield site_id, replace(record, bytes_sent=letters[site_id].num_bytes), update

    def _judge(
        self, phase: Phase, site_id: str, answer: Answer, forms: StateDict
    ) -> tuple[SiteRecord, SpooledUpdate | None]:
        """Accept an answer, or say what is wrong with it; one bad site must not end the round."""
        if answer.content is None:
            return SiteRecord(state=_ENDS[answer.outcome], seconds=answer.seconds, reason=answer.reason), None
        record = SiteRecord(state=SiteState.USED, seconds=answer.seconds, bytes_received=num_bytes(answer.content))
        try:
            reply = decode_reply(answer.content)
            update = self._checked(phase, site_id, reply, forms)
        except (ExchangeError, AggregationError) as error:
            return replace(record, state=SiteState.REJECTED, reason=str(error)), None
        return replace(record, num_examples=reply.num_examples, metrics=dict(reply.metrics)), update

    def _checked(self, phase: Phase, site_id: str, reply: SiteReply, forms: StateDict) -> SpooledUpdate | None:
        if phase.exchange is Exchange.NOTHING:
            if reply.weights is not None:
                msg = f"site {site_id!r} sent weights in phase {phase.label!r}, which exchanges none"
                raise ExchangeError(msg)
            return None
        weights = reply.weights or {}
        check_update(WeightUpdate(site_id=site_id, weights=weights, num_examples=reply.num_examples), forms)
        spooled = SpooledWeights(weights, self.spool_dir)
        return SpooledUpdate(site_id=site_id, num_examples=reply.num_examples, weights=spooled)

    def _missed_quorum(self, step: Step, records: Mapping[str, SiteRecord]) -> QuorumError | None:
        used = [site_id for site_id, record in records.items() if record.state is SiteState.USED]
        try:
            require_quorum(step, self.sites, asked=list(records), used=used, quorum=self.config.federation.quorum)
        except QuorumError as error:
            return error
        return None

    def _average(self, phase: Phase, updates: Mapping[str, SpooledUpdate], sent: SpooledWeights) -> dict[str, float]:
        """Replace the phase's model by the average of the updates; return every site's share.

        Cases are counted as the cards said before round 1: a reply cannot buy itself a larger share.
        """
        sites = [card for card in self.sites if card.site_id in updates]
        counts = [(card.role, card.num_cases) for card in sites]
        shares = site_weights(counts, fit_config(self.config, phase).source_weight)
        average = federated_average([updates[card.site_id] for card in sites], shares)
        share_of = {card.site_id: share for card, share in zip(sites, shares, strict=True)}
        by_domain = [share_of.get(card.site_id, 0.0) for card in self.sites]
        for name in average:
            if name.endswith(DOMAIN_TABLES):
                average[name] = owned_rows(average[name], sent[name], by_domain)
        self.models[phase.model] = average
        if phase.name is PhaseName.DIFFUSE:  # a mean that began with untrained weights would render them for ever
            if self.denoiser_mean is None:
                self.denoiser_mean = {name: tensor.clone() for name, tensor in average.items()}
            else:
                update_ema_(self.denoiser_mean, average, self.config.diffuse.server_ema_decay)
        return share_of
