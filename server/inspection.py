"""One answer, turned into a record of how the round ended for its site and, if it is usable, an update on the disk."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffuse_uda.algorithms.update_change import UpdateChange, is_untrained
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import AggregationError, ExchangeError
from diffuse_uda.exchange.envelopes import Content, content_digest, digests
from diffuse_uda.exchange.flower import decode_reply, num_bytes
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.exchange.policy import COUNTS_AND_LOSSES, MAX_SCALARS, SCORES
from diffuse_uda.methods.phase import Exchange
from diffuse_uda.types import StateDict, WeightUpdate
from server.averaging import SpooledUpdate
from server.history import SiteRecord, SiteState
from server.letters import Answer, Outcome
from server.quarantine import put_aside
from server.spool import SpooledWeights, spooled
from server.update_gate import UNTRAINED, UpdateGate
from server.workflow import Step

logger = logging.getLogger(__name__)

TELLS_NOTHING = "too few cases: the site keeps what its classes look like to itself, and nobody learns its look from it"

_ENDS = {
    Outcome.FAILED: SiteState.FAILED,
    Outcome.UNASSIGNED: SiteState.FAILED,
    Outcome.ABSENT: SiteState.ABSENT,
    Outcome.LOST: SiteState.LOST,
    Outcome.SILENT: SiteState.SILENT,
    Outcome.OVERDUE: SiteState.OVERDUE,
    Outcome.REFUSED: SiteState.REJECTED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """What an answer is worth."""

    record: SiteRecord
    update: SpooledUpdate | None = None
    """Where the phase exchanges weights and the update passed."""
    change: UpdateChange | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspector:
    """Judges the answers of one round, one at a time."""

    config: StudyConfig
    step: Step
    label_names: Sequence[str]
    gate: UpdateGate
    run_dir: Path
    """Refused updates are kept there, and accepted ones until the round is over."""
    sent: SpooledWeights | None
    """The model that was sent, if the phase exchanges weights."""

    def inspect(self, site_id: str, answer: Answer) -> Inspected:
        """Accept an answer, or say what is wrong with it; one bad site must not end the round."""
        if answer.content is None:
            return Inspected(
                record=SiteRecord(
                    state=_ENDS[answer.outcome],
                    seconds=answer.seconds,
                    reason=answer.reason,
                    num_sendings=answer.num_sendings,
                )
            )
        record = SiteRecord(
            state=SiteState.USED,
            seconds=answer.seconds,
            bytes_received=num_bytes(answer.content),
            sha256=content_digest(digests(answer.content)),
            num_sendings=answer.num_sendings,
        )
        weights: StateDict | None = None
        try:
            self._require_small(record.bytes_received)
            reply = _decoded(answer.content)
            weights = reply.weights
            inspected = self._examined(site_id, record, reply)
        except (ExchangeError, AggregationError) as error:
            reason = str(error)
            self.quarantine(site_id, reason, weights)
            return Inspected(record=replace(record, state=SiteState.REJECTED, reason=reason))
        return inspected

    def quarantine(self, site_id: str, reason: str, weights: Mapping[str, object] | None) -> None:
        """Say that an update was refused, and keep it apart."""
        logger.warning("%s, round %d: %s", self.step.phase.label, self.step.server_round, reason)
        put_aside(
            self.run_dir,
            phase=self.step.phase.label,
            server_round=self.step.server_round,
            site_id=site_id,
            reason=reason,
            weights=weights,  # type: ignore[arg-type]
        )

    def _examined(self, site_id: str, record: SiteRecord, reply: SiteReply) -> Inspected:
        scalars = known_scalars(reply.metrics, self.label_names)
        warnings = (
            [f"{num} scalars that are not on the list were dropped"]
            if (num := len(reply.metrics) - len(scalars))
            else []
        )
        record = replace(record, num_examples=reply.num_examples, metrics=scalars)
        if self.sent is None:
            if reply.weights is not None:
                msg = f"site {site_id!r} sent weights in phase {self.step.phase.label!r}, which exchanges none"
                raise ExchangeError(msg)
            return Inspected(record=replace(record, warnings=tuple(warnings)))
        update = WeightUpdate(site_id=site_id, weights=reply.weights or {}, num_examples=reply.num_examples)
        change = self.gate.examine(self.step, update, self.sent, self.sent.forms())
        if "withheld-rows" in scalars:
            warnings.append(TELLS_NOTHING)
        elif is_untrained(change):
            warnings.append(UNTRAINED)
        return Inspected(
            record=replace(record, warnings=tuple(warnings)),
            update=SpooledUpdate(
                site_id=site_id, num_examples=reply.num_examples, weights=spooled(update.weights, self.run_dir)
            ),
            change=change,
        )

    def _require_small(self, size: int) -> None:
        limit = self.config.exchange.max_message_bytes
        if size > limit:
            msg = f"the reply has {size:,} bytes, exchange.max-message-bytes allows {limit:,}"
            raise ExchangeError(msg)


def known_scalars(metrics: Mapping[str, float], label_names: Sequence[str]) -> dict[str, float]:
    """The finite scalars that a site may send, by the list that the sites themselves keep to.

    A site that does not keep to it must not write into the record of the run, let alone end it.
    """
    labels = {"", *label_names}
    known = {
        key: value
        for key, value in metrics.items()
        if math.isfinite(value) and (key in COUNTS_AND_LOSSES or _is_score(key, labels))
    }
    return dict(list(known.items())[:MAX_SCALARS])


def expects_weights(step: Step) -> bool:
    """Whether the replies of a round bring weights."""
    return step.phase.exchange is not Exchange.NOTHING


def _is_score(key: str, labels: set[str]) -> bool:
    name, separator, label = key.partition("/")
    return name in SCORES and label in labels and bool(separator) == bool(label)


def _decoded(content: Content) -> SiteReply:
    """Read a reply, whatever somebody has made of it."""
    try:
        return decode_reply(content)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        msg = f"the reply cannot be read: {type(error).__name__}"
        raise ExchangeError(msg) from error
