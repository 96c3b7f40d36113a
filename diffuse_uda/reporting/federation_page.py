"""The federation's page, for whoever coordinates: who took part, what happened in every round, what travelled.

It holds what a hub's run folder holds and nothing else: no image, no case, no path. It is one file that loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diffuse_uda.reporting.case_sheets import data_address
from diffuse_uda.reporting.charts import render_curves
from diffuse_uda.reporting.history_view import RoundRecord, SiteRecord, exchange_by_phase, loss_curves
from diffuse_uda.reporting.templating import template_environment
from diffuse_uda.types import Scalar

SIGNS = {"used": "·", "failed": "F", "rejected": "R", "lost": "L", "silent": "S", "overdue": "O", "absent": "A"}
"""A letter for every way a round ends for a site, so that nothing relies on colour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Participant:
    """One site, as it has introduced itself."""

    site_id: str
    role: str
    num_cases: int
    num_test_cases: int
    key: str = ""
    """Fingerprint of the key that its messages are signed with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FederationFacts:
    """Everything the page is made of."""

    name: str
    method: str
    end: str
    """How the run stands: `running`, `completed`, ..."""
    end_reason: str = ""
    end_at: str = ""
    label_names: Sequence[str] = ()
    participants: Sequence[Participant] = ()
    history: Sequence[RoundRecord] = ()
    num_rounds: int = 0
    """Rounds of all phases together."""
    scores: Mapping[str, Mapping[str, Mapping[str, Scalar]]] = field(default_factory=dict)
    """Mean scores by method row and site, as far as sites let them out."""
    refused_messages: Sequence[tuple[str, str, str]] = ()
    """Time, site and reason of messages that were not taken."""
    hashes: Sequence[tuple[str, str]] = ()
    """What, and its SHA-256."""
    config: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRounds:
    """One site's rounds of one phase."""

    site_id: str
    rounds: tuple[tuple[int, SiteRecord], ...]

    @property
    def summary(self) -> str:
        """Such as `7 used, 1 lost`."""
        states = [record.state for _, record in self.rounds]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    @property
    def has_trouble(self) -> bool:
        """Whether a round did not end with a used reply."""
        return any(record.state != "used" for _, record in self.rounds)

    @property
    def last_share(self) -> float | None:
        """Weight in the last average that the site had a part in; None where nothing was averaged."""
        shares = [record.share for _, record in self.rounds if record.share > 0.0]
        return shares[-1] if shares else None

    @property
    def losses(self) -> tuple[float, float] | None:
        """First and last mean loss."""
        known = [record.metrics["loss"] for _, record in self.rounds if "loss" in record.metrics]
        return (known[0], known[-1]) if known else None


def render_federation_page(facts: FederationFacts) -> str:
    """Make the page. The same facts give the same text."""
    curves = loss_curves(facts.history)
    site_ids = [site.site_id for site in facts.participants]
    return (
        template_environment()
        .get_template("federation.html.j2")
        .render(
            facts=facts,
            signs=SIGNS,
            phases=rounds_by_phase(facts.history),
            exchange=exchange_by_phase(facts.history),
            curves=data_address(render_curves(curves, site_ids), "svg+xml") if curves else "",
            troubles=troubles(facts.history),
            score_names=_score_names(facts.scores),
            done=len(facts.history),
        )
    )


def rounds_by_phase(history: Sequence[RoundRecord]) -> dict[str, tuple[int, list[SiteRounds]]]:
    """Sort a history by phase, in the order in which they ran, and site.

    Returns:
        By phase: how many rounds it has, and what every site did in those that are over.
    """
    phases: dict[str, dict[str, list[tuple[int, SiteRecord]]]] = {}
    planned: dict[str, int] = {}
    for record in history:
        planned[record.phase] = max(planned.get(record.phase, 0), record.num_rounds, record.server_round)
        for site_id, site in record.sites.items():
            phases.setdefault(record.phase, {}).setdefault(site_id, []).append((record.server_round, site))
    return {
        phase: (
            planned[phase],
            [SiteRounds(site_id=site_id, rounds=tuple(by_site[site_id])) for site_id in sorted(by_site)],
        )
        for phase, by_site in phases.items()
    }


def troubles(history: Sequence[RoundRecord]) -> list[tuple[str, int, str, str, str]]:
    """Everything that did not go as asked: phase, round, site, how it ended, and the reason or the warning."""
    found = []
    for record in history:
        for site_id, site in record.sites.items():
            if site.state != "used":
                found.append((record.phase, record.server_round, site_id, site.state, site.reason))
            found += [(record.phase, record.server_round, site_id, "warning", warning) for warning in site.warnings]
    return found


def _score_names(scores: Mapping[str, Mapping[str, Mapping[str, Scalar]]]) -> list[str]:
    known = {name for sites in scores.values() for said in sites.values() for name in said}
    return [name for name in ("dice", "hd95-mm") if name in known]
