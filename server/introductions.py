"""Who is there: every node that is online introduces itself before round 1."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError, ExchangeError, QuorumError, SiteTaskError
from diffuse_uda.exchange.flower import INTRODUCE, decode_card, empty_content
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.run_options import PREPARE_SITES, RunOptions
from diffuse_uda.types import SiteRole
from server.letters import Outcome, Patience
from server.mail import Mail

LOOK_AROUND_S = 0.5
"""Seconds between two looks at who is online."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Round:
    cards: dict[int, SiteCard]
    failures: dict[int, str]
    unassigned: list[int]


def meet_sites(
    mail: Mail,
    config: StudyConfig,
    options: RunOptions,
    *,
    expected: Collection[str] = (),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[int, SiteCard]:
    """Ask every node for its card until the study can begin or `federation.join-timeout-s` is over.

    A run that goes on waits for the sites that it began with (`expected`, by site id).

    A node that comes later takes no part in this run: the rows of the denoiser's domain table are given out here.
    Simulated nodes that are nobody yet get their sites from `options.prepare_sites`.

    Returns:
        Cards by node id, without a judgement on whether they make a federation (`require_membership` has that).

    Raises:
        SiteTaskError: If a site cannot introduce itself: what is wrong there has to be put right before round 1.
        QuorumError: If no node answered in time.
        ConfigError: If simulated nodes were told nothing and there is nobody to prepare them.
    """
    deadline = clock() + config.federation.join_timeout_s
    cards: dict[int, SiteCard] = {}
    prepared = False
    while True:
        new = [node_id for node_id in mail.nodes() if node_id not in cards]
        asked = _ask(mail, new, timeout_s=max(deadline - clock(), 1.0))
        if asked.failures:
            reasons = "; ".join(f"node {node_id}: {reason}" for node_id, reason in asked.failures.items())
            msg = f"{len(asked.failures)} of {len(new)} sites cannot take part: {reasons}"
            raise SiteTaskError(msg)
        if asked.unassigned:
            if prepared or not options.prepare_sites or options.sites_file is None:
                msg = (
                    f"{len(asked.unassigned)} simulated nodes do not know which site they play; name a file with their "
                    f"node-configs ({options.sites_file}), or a function that writes it ({PREPARE_SITES})"
                )
                raise ConfigError(msg)
            _function(options.prepare_sites)(options.sites_file, len(mail.nodes()))
            prepared = True
            continue
        cards |= asked.cards
        settled = set(mail.nodes()) <= cards.keys()  # nodes come up one after another
        is_complete = set(expected) <= {card.site_id for card in cards.values()}
        if (settled and is_complete and _is_enough(cards, config)) or clock() >= deadline:
            break
        sleep(LOOK_AROUND_S)
    if not cards:
        msg = f"no site joined within {config.federation.join_timeout_s:g} s; are the clients running, and online?"
        raise QuorumError(msg)
    return cards


def _ask(mail: Mail, node_ids: list[int], *, timeout_s: float) -> _Round:
    letters = [
        mail.send(node_id, INTRODUCE, empty_content(), group="introduction", lifetime_s=timeout_s)
        for node_id in node_ids
    ]
    asked = _Round(cards={}, failures={}, unassigned=[])
    for answer in mail.answers(letters, patience=Patience(idle_s=timeout_s, limit_s=timeout_s)):
        if answer.content is not None:
            try:
                asked.cards[answer.node_id] = decode_card(answer.content)
            except ExchangeError as error:
                asked.failures[answer.node_id] = str(error)
        elif answer.outcome is Outcome.UNASSIGNED:
            asked.unassigned.append(answer.node_id)
        elif answer.outcome in {Outcome.FAILED, Outcome.REFUSED}:
            asked.failures[answer.node_id] = answer.reason
    return asked


def _is_enough(cards: dict[int, SiteCard], config: StudyConfig) -> bool:
    roles = [card.role for card in cards.values()]
    return SiteRole.SOURCE in roles and roles.count(SiteRole.TARGET) >= config.federation.min_targets


def _function(reference: str) -> Callable[[object, int], object]:
    """Look up `module:function`; simulations name theirs this way, as the server must not depend on them."""
    module_name, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{PREPARE_SITES}: cannot find {reference!r} ({error}); wanted module:function"
        raise ConfigError(msg) from error
    if not callable(function):
        msg = f"{PREPARE_SITES}: {reference!r} is {type(function).__name__}; wanted a function"
        raise ConfigError(msg)
    return function  # type: ignore[no-any-return]
