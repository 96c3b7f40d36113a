"""Who does what in every round of a method, who has to answer, and who may take part. Pure: no clock, no transport."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from diffuse_uda.algorithms.update_checks import MAX_NUM_EXAMPLES
from diffuse_uda.config import FitConfig, StudyConfig
from diffuse_uda.errors import ConfigError, QuorumError
from diffuse_uda.exchange.card_policy import is_site_id
from diffuse_uda.exchange.orders import SiteCard, WorkOrder
from diffuse_uda.methods.phase import Method, Phase, PhaseName, Task
from diffuse_uda.types import SiteRole


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One round of one phase."""

    phase: Phase
    server_round: int
    """From 1."""
    number: int = 0
    """Place among all rounds of the method, from 1; 0 for a round on its own."""

    @property
    def is_last(self) -> bool:
        """Whether the phase ends with this round."""
        return self.server_round == self.phase.num_rounds


def steps(method: Method, *, after: str = "") -> Iterator[Step]:
    """Every round of a method, in order; those of the phases behind `after` if it names one by its label.

    A phase of no rounds has no steps.

    Raises:
        ConfigError: If the method has no phase of that label.
    """
    labels = [phase.label for phase in method.phases]
    if after and after not in labels:
        msg = f"method {method.name} has no phase {after!r} to start after; it has {labels}"
        raise ConfigError(msg)
    first = labels.index(after) + 1 if after else 0
    number = sum(phase.num_rounds for phase in method.phases[:first])
    for phase in method.phases[first:]:
        for server_round in range(1, phase.num_rounds + 1):
            number += 1
            yield Step(phase=phase, server_round=server_round, number=number)


def ordered_sites(cards: Collection[SiteCard]) -> tuple[SiteCard, ...]:
    """The source first, then the targets by name: the order of domains, of orders and of sums.

    It depends on nobody's speed, so neither do a domain's row in the denoiser or the last digit of an average.
    """
    return tuple(sorted(cards, key=lambda card: (card.role is not SiteRole.SOURCE, card.site_id)))


def assignments(phase: Phase, sites: Sequence[SiteCard]) -> dict[str, Task]:
    """Tasks of a phase by site id, in the order of `sites`; sites that rest are left out.

    An evaluation asks only sites with labelled test cases, a phase for one target only that one and the source.
    """
    return {
        card.site_id: phase.tasks[card.role]
        for domain, card in enumerate(sites)
        if card.role in phase.tasks
        and (phase.name is not PhaseName.EVALUATE or card.num_test_cases > 0)
        and (phase.partner is None or card.role is SiteRole.SOURCE or domain == phase.partner)
    }


def work_order(step: Step, task: Task, sites: Sequence[SiteCard], *, after: int = 0) -> WorkOrder:
    """Write down one site's work in a round; `sites` are ordered and stay the same for the whole study.

    Args:
        step: The round.
        task: What the site does in it.
        sites: All sites.
        after: Number of the last round of which the server has a usable reply of this site.
    """
    return WorkOrder(
        task=task,
        phase=step.phase.label,
        server_round=step.server_round,
        num_rounds=step.phase.num_rounds,
        pass_index=step.phase.pass_index,
        row=step.phase.row,
        domains=tuple(card.site_id for card in sites),
        label_names=sites[0].label_names,
        num_participants=len(assignments(step.phase, sites)),
        partner=step.phase.partner,
        number=step.number,
        after=after,
        style_blocks={card.site_id: card.style_block for card in sites if card.style_block is not None},
    )


def require_quorum(
    step: Step,
    sites: Sequence[SiteCard],
    asked: Collection[str],
    used: Collection[str],
    quorum: float,
    *,
    at_least: int = 0,
) -> None:
    """Refuse to go on when too few of the asked sites contributed.

    The source is the only one with labels: where it is asked it must reply. Of the asked targets, the share `quorum`
    must, rounded up, and no fewer than `at_least` where so many are asked. A missing score is a gap in a table and
    stops nothing, so evaluations need no quorum.

    Raises:
        QuorumError: Naming the phase, the round and the sites that are missing.
    """
    if step.phase.name is PhaseName.EVALUATE:
        return
    missing = [card.site_id for card in sites if card.site_id in asked and card.site_id not in used]
    sources = {card.site_id for card in sites if card.role is SiteRole.SOURCE}
    num_asked, num_used = len(set(asked) - sources), len(set(used) - sources)
    wanted = max(math.ceil(quorum * num_asked), min(at_least, num_asked))
    if sources.intersection(missing) or num_used < wanted:
        msg = (
            f"phase {step.phase.label}, round {step.server_round} of {step.phase.num_rounds}: no usable reply from "
            f"{missing}; wanted the source, where it is asked, and {wanted} of {num_asked} targets. "
            "Look into the log of these sites; the last complete round is in the run folder"
        )
        raise QuorumError(msg)


def require_membership(cards: Sequence[SiteCard], config: StudyConfig) -> tuple[SiteCard, ...]:
    """Refuse a federation that cannot carry out the study, before anybody starts to work.

    Returns:
        The sites in the order of their domains.

    Raises:
        ConfigError: If there is more than one source, a name appears twice or is none, a site has no cases or more than
            anybody has, label maps contradict each other, or the denoiser has too few domains.
        QuorumError: If there is no source, or fewer targets than the study asks for.
    """
    sites = ordered_sites(cards)
    names = [card.site_id for card in sites]
    sources = [card for card in sites if card.role is SiteRole.SOURCE]
    if len(set(names)) != len(names):
        msg = f"two sites call themselves the same: {names}; every node-config needs a site-id of its own"
        raise ConfigError(msg)
    if not sources:
        msg = f"no source joined, only the targets {names}; wanted one site with role = source: is its client running?"
        raise QuorumError(msg)
    if len(sources) > 1:
        found = [card.site_id for card in sources]
        msg = f"found {len(sources)} sources {found} among {names}; wanted exactly one site with role = source"
        raise ConfigError(msg)
    num_targets = len(sites) - 1
    if num_targets < config.federation.min_targets:
        msg = f"found {num_targets} targets among {names}; wanted at least {config.federation.min_targets}"
        raise QuorumError(msg)
    if len(sites) > config.denoiser.max_domains:
        msg = f"{len(sites)} sites joined; denoiser.max-domains = {config.denoiser.max_domains} has no row for all"
        raise ConfigError(msg)
    for card in sites:
        _require_usable(card, sources[0])
    return sites


def fit_config(config: StudyConfig, phase: Phase) -> FitConfig:
    """Budget of a phase that exchanges weights; it also says how much the source weighs.

    Raises:
        ConfigError: If the study has no such budget.
    """
    budgets: dict[PhaseName, FitConfig] = {
        PhaseName.WARM_UP: config.warm_up,
        PhaseName.ADAPT: config.adapt,
        PhaseName.DESCRIBE: config.diffuse,
        PhaseName.RECOLOUR: config.recolour,
        PhaseName.DIFFUSE: config.diffuse,
        PhaseName.REFINE: config.refine,
        PhaseName.ENSEMBLE: config.ensemble,
    }
    if phase.name not in budgets:
        msg = f"phase {phase.label!r} exchanges weights, but the study has no budget for it; known: {sorted(budgets)}"
        raise ConfigError(msg)
    return budgets[phase.name]


def _require_usable(card: SiteCard, source: SiteCard) -> None:
    if not is_site_id(card.site_id):
        msg = f"a site calls itself {card.site_id[:80]!r}; wanted a short name of letters, digits, '.', '_' and '-'"
        raise ConfigError(msg)
    if not 1 <= card.num_cases <= MAX_NUM_EXAMPLES:
        msg = f"site {card.site_id!r} has {card.num_cases} training cases, wanted 1 to {MAX_NUM_EXAMPLES:,}"
        raise ConfigError(msg)
    if card is source and len(card.label_names) < 2:
        msg = (
            f"source {card.site_id!r} names the labels {card.label_names}; wanted the background and at least one more"
        )
        raise ConfigError(msg)
    if card.label_names and card.label_names != source.label_names:
        msg = (
            f"site {card.site_id!r} has the label map {card.label_names}, the source {source.site_id!r} has "
            f"{source.label_names}; wanted the same names in the same order (or none at a target)"
        )
        raise ConfigError(msg)
