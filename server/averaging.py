"""The average of a round: shares, rule, and rows that belong to one site alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffuse_uda.algorithms.aggregation import federated_average, site_weights
from diffuse_uda.algorithms.domain_rows import DOMAIN_TABLES, owned_rows
from diffuse_uda.algorithms.robust_rules import robust_average
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.methods.phase import Phase
from diffuse_uda.types import AverageRule, SiteRole, StateDict
from server.spool import SpooledWeights
from server.workflow import fit_config


@dataclass(frozen=True, kw_only=True, slots=True)
class SpooledUpdate:
    """An accepted update; its weights are read from the disk one tensor at a time."""

    site_id: str
    num_examples: int
    weights: SpooledWeights


def average_round(
    config: StudyConfig,
    phase: Phase,
    sites: Sequence[SiteCard],
    updates: Mapping[str, SpooledUpdate],
    sent: SpooledWeights,
) -> tuple[StateDict, dict[str, float]]:
    """Average the accepted updates of a round.

    Cases are counted as the cards said before round 1, up to `federation.max-cases`: a reply cannot buy itself a larger
    share. The source's share is fixed, whatever the rule. A domain's rows are its own site's, whatever the rule.

    Args:
        config: The study.
        phase: What was trained.
        sites: All sites, in the order of their domains.
        updates: Accepted updates by site.
        sent: The model that was sent.

    Returns:
        The new model, and the share of every site in it; by a robust rule a target's share is that of its voice.

    Raises:
        AggregationError: If the updates cannot be averaged.
    """
    used = [card for card in sites if card.site_id in updates]
    source_weight = fit_config(config, phase).source_weight
    if config.federation.rule is AverageRule.MEAN:
        counts = [(card.role, min(card.num_cases, config.federation.max_cases)) for card in used]
        shares = site_weights(counts, source_weight)
        average = federated_average([updates[card.site_id] for card in used], shares)
        share_of = {card.site_id: share for card, share in zip(used, shares, strict=True)}
        by_domain = [share_of.get(card.site_id, 0.0) for card in sites]
        for name in average:
            if name.endswith(DOMAIN_TABLES):
                average[name] = owned_rows(average[name], sent[name], by_domain)
        return average, share_of
    shares = site_weights([(card.role, 1) for card in used], source_weight)
    average = robust_average(
        [updates[card.site_id].weights for card in used if card.role is SiteRole.SOURCE],
        [updates[card.site_id].weights for card in used if card.role is SiteRole.TARGET],
        sent.forms(),
        source_weight=source_weight,
        rule=config.federation.rule,
    )
    for name in average:
        if name.endswith(DOMAIN_TABLES):
            # A median over sites of which only one may change a row would never let it change.
            average[name] = sent[name]
            for domain, card in enumerate(sites):
                if card.site_id in updates:
                    average[name][domain] = updates[card.site_id].weights[name][domain]
    return average, {card.site_id: share for card, share in zip(used, shares, strict=True)}
