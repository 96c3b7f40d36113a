"""What a site does before it believes an order: is this the study it agreed to, its next round, its own architecture?

A server gets at most one answer for every round of the plan: the same order again has the same answer, other weights
for a round that was answered are refused. So nobody can try one site's patients on a thousand chosen models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from client.run_book import RunBook
from client.site import Site
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange import plan as study_plan
from diffuse_uda.exchange.card_policy import MAX_LABELS, MAX_STYLE_SHARE, is_label_name, is_site_id
from diffuse_uda.exchange.envelopes import MOST_FALL_BACKS, VERSION, Envelope
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.exchange.plan import forms_of, phase_of, phases_of, plan_hash
from diffuse_uda.exchange.site_policy import SitePolicy
from diffuse_uda.methods.phase import Phase
from diffuse_uda.types import SiteRole, StateDict

REFUSED = "order refused"
MAX_WEIGHT = 1e6
"""Largest magnitude of a received weight: a network whose weights are near it is no network any more."""

Problems = Iterator[tuple[str, str]]


def check_order_bytes(num_bytes: int, config: StudyConfig, policy: SitePolicy) -> None:
    """Refuse a letter that is too large to be looked into.

    Raises:
        RefusalError: With the sizes.
    """
    limit = min(config.exchange.max_message_bytes, policy.max_message_bytes or math.inf)
    if num_bytes > limit:
        raise RefusalError(REFUSED, [("order-bytes", f"{num_bytes} bytes came, allowed are {limit:.0f}")])


def check_plan(book: RunBook | None, envelope: Envelope, config: StudyConfig, policy: SitePolicy) -> None:
    """Refuse a study other than the one that the site reads itself, has approved, or agreed to before in this run.

    Raises:
        RefusalError: With the hashes.
    """
    if broken := list(_plan_problems(book, envelope, config, policy)):
        raise RefusalError(REFUSED, broken)


def admitted(
    book: RunBook | None,
    envelope: Envelope,
    order: WorkOrder,
    received: StateDict,
    base: str,
    *,
    site: Site,
    config: StudyConfig,
    policy: SitePolicy,
) -> RunBook:
    """Admit an order to the site.

    Args:
        book: What the site knows of the run.
        envelope: Run and plan beside the order.
        order: The order.
        received: Weights that came with it.
        base: Their hash.
        site: This site.
        config: The study as this site reads it.
        policy: The site's own word.

    Returns:
        The book with this round in it, to be kept before the work begins.

    Raises:
        RefusalError: With every rule that is broken.
    """
    if book is None:
        words = "this site has not introduced itself to that run"
        raise RefusalError(REFUSED, [("unknown-run", words)])
    phase = phase_of(config, order)
    broken = [
        *_plan_problems(book, envelope, config, policy),
        *_place_problems(order, phase, number := _number(config, order), site),
        *_federation_problems(book, order, site, config),
        *_style_problems(order, config),
    ]
    if not broken:  # otherwise the number of classes means nothing
        broken += _weight_problems(order, received, phase, config)
    bases = _bases_before(book, envelope, number)
    broken += _replay_problems(book, envelope, bases, number, base)
    if broken:
        raise RefusalError(REFUSED, broken)
    return replace(
        book,
        domains=order.domains,
        label_names=order.label_names,
        bases={**bases, str(number): base},
        fall_backs=envelope.fall_backs,
    )


def _plan_problems(book: RunBook | None, envelope: Envelope, config: StudyConfig, policy: SitePolicy) -> Problems:
    here = plan_hash(config)
    if envelope.version != VERSION:
        yield "wrong-version", f"the server is of version {envelope.version[:64]}, this site of {VERSION}"
    if envelope.plan != here:
        yield "wrong-plan", f"the server's study has the hash {envelope.plan[:64]}, this site reads {here}"
    elif book is not None and book.plan != envelope.plan:
        yield "wrong-plan", f"the study has changed within the run: {envelope.plan} instead of {book.plan}"
    if policy.plans is not None and here not in policy.plans:
        yield "plan-not-approved", f"the study {here} is not among those that this site's policy lists"


def _number(config: StudyConfig, order: WorkOrder) -> int:
    """Place of the order's round among all rounds of the plan, from 1; the server is not asked."""
    number = order.server_round
    for phase in phases_of(config, len(order.domains) - 1):
        if phase.label == order.phase:
            break
        number += phase.num_rounds
    return number


def _place_problems(order: WorkOrder, phase: Phase, number: int, site: Site) -> Problems:
    said = (order.num_rounds, order.pass_index, order.row, order.partner)
    wanted = (phase.num_rounds, phase.pass_index, phase.row, phase.partner)
    if said != wanted or not 1 <= order.server_round <= phase.num_rounds or order.number not in {0, number}:
        words = (
            f"round {order.server_round} (number {order.number}) of {said[0]}, pass {said[1]}, partner {said[3]} does "
            f"not belong to the phase {phase.label!r} of this study: number {number} of {wanted}"
        )
        yield "wrong-plan", words
    is_for_another = phase.partner is not None and site.site_id != dict(enumerate(order.domains)).get(phase.partner)
    if site.role is SiteRole.TARGET and is_for_another:
        yield "wrong-plan", f"the phase {phase.label!r} is for another target"


def _federation_problems(book: RunBook, order: WorkOrder, site: Site, config: StudyConfig) -> Problems:
    domains = order.domains
    is_source = domains[:1] == (site.site_id,)
    if (
        len(set(domains)) != len(domains)
        or not all(map(is_site_id, domains))
        or not 2 <= len(domains) <= config.denoiser.max_domains
        or site.site_id not in domains
        or is_source != (site.role is SiteRole.SOURCE)
        or not 1 <= order.num_participants <= len(domains)
    ):
        yield "wrong-sites", f"{len(domains)} sites, of which this one is not the {site.role.value} it is"
    elif book.domains and domains != book.domains:
        yield "wrong-sites", "the sites have changed within the run"
    names = order.label_names
    if (
        not 2 <= len(names) <= MAX_LABELS
        or len(set(names)) != len(names)
        or not all(map(is_label_name, names))
        or (book.label_names and names != book.label_names)
    ):
        yield "wrong-labels", f"{len(names)} labels that are not those of this run, or no names of labels"


def _style_problems(order: WorkOrder, config: StudyConfig) -> Problems:
    blocks = order.style_blocks
    if not blocks:
        return
    limit = int(math.prod(config.grid.patch_size) * MAX_STYLE_SHARE)
    if not config.exchange.allow_style_blocks or blocks.keys() - set(order.domains):
        yield "style-block", f"{len(blocks)} style blocks, which this study does not exchange or of nobody in it"
    for block in blocks.values():
        if not block.is_floating_point() or block.numel() > limit or not bool(torch.isfinite(block).all()):
            yield "style-block", "a style block that is none"


def _weight_problems(order: WorkOrder, received: StateDict, phase: Phase, config: StudyConfig) -> Problems:
    wanted = study_plan.model_forms(config, phase.model, len(order.label_names))
    found = forms_of(received)
    if foreign := sorted(found.keys() - wanted.keys()):
        yield (
            "unknown-layer",
            f"{len(foreign)} tensors that the {phase.model.value} of this study has not: {foreign[:3]}",
        )
    if missing := sorted(wanted.keys() - found.keys()):
        yield "missing-layer", f"a {phase.model.value} without {missing[:3]} ({len(missing)} in all)"
    for name in found.keys() & wanted.keys():
        if found[name] != wanted[name]:
            yield "layer-form", f"{name!r} is {found[name]}, wanted {wanted[name]}"
    for name, tensor in received.items():
        if tensor.is_floating_point() and tensor.numel():
            largest = float(tensor.abs().max())  # NaN if there is one
            if not math.isfinite(largest):
                yield "weights-not-finite", f"{name!r} holds values that are not finite"
            elif largest > MAX_WEIGHT:
                yield "weights-too-large", f"{name!r} holds {largest:g}, allowed is {MAX_WEIGHT:g}"


def _bases_before(book: RunBook, envelope: Envelope, number: int) -> Mapping[str, str]:
    """What the site has agreed to and still holds: a coordinator that went back has forgotten everything from there."""
    if envelope.fall_backs <= book.fall_backs:
        return book.bases
    return {key: base for key, base in book.bases.items() if int(key) < number}


def _replay_problems(book: RunBook, envelope: Envelope, bases: Mapping[str, str], number: int, base: str) -> Problems:
    if not book.fall_backs <= envelope.fall_backs <= MOST_FALL_BACKS:
        words = f"it has gone back {envelope.fall_backs} times, wanted {book.fall_backs} to {MOST_FALL_BACKS}"
        yield "replayed-round", words
    if (before := bases.get(str(number))) is not None:
        if before != base:
            yield "replayed-round", f"round {number} came before with the weights {before[:16]}..., now {base[:16]}..."
    elif bases and number < (last := max(map(int, bases))):
        yield "replayed-round", f"round {number} comes after round {last}"
