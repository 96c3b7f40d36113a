"""The joint loss of all sites, for the centralised reference: every site's own closure, weighed as in the average."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from client.ensembling_tasks import ensemble_loss, ensembling_ramp
from client.generation_tasks import diffuse_loss, set_class_table_row
from client.refinement_losses import recolour_loss, refine_source_loss, refine_target_loss
from client.segmentation_losses import (
    StepLoss,
    adapt_source_loss,
    adapt_target_loss,
    adaptation_ramp,
    supervised_loss,
)
from client.segmentation_tasks import LARGEST_HALF_WIDTH
from client.site_batches import labelled_examples, training_examples
from client.workplace import Workplace
from diffuse_uda.algorithms.domain_rows import DOMAIN_TABLES
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.methods.phase import Task
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.training.looks import Look, look_of
from diffuse_uda.types import SiteRole


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One site's part of the joint loss of a round."""

    loss_at: StepLoss
    factor: float
    """The site's share of the average, times the ramp where there is one."""
    joins: frozenset[int]
    """Joint steps of the round in which this site takes part."""


def joint_loss(terms: Mapping[str, Term], tell: Callable[[str, float], None]) -> StepLoss:
    """L = sum over sites of factor_i * L_i, over the sites that take part in a step.

    Args:
        terms: By site id; at least one of them joins in every step.
        tell: Told the site and its L_i, unweighed, in every step in which it takes part.
    """

    def loss_at(step: int) -> Tensor:
        parts = []
        for site_id, term in terms.items():
            if step in term.joins:
                loss = term.loss_at(step)
                tell(site_id, float(loss.detach()))
                parts.append(term.factor * loss)
        return torch.stack(parts).sum()

    return loss_at


def evenly_spread(num_chosen: int, num_steps: int) -> frozenset[int]:
    """Choose steps out of 0..num_steps-1 as evenly as it goes; the last one is always among them.

    Raises:
        ValueError: If not 1 <= num_chosen <= num_steps.
    """
    if not 1 <= num_chosen <= num_steps:
        msg = f"num_chosen must be in [1, {num_steps}], got {num_chosen}"
        raise ValueError(msg)
    return frozenset(
        step for step in range(num_steps) if (step + 1) * num_chosen // num_steps > step * num_chosen // num_steps
    )


def site_loss(work: Workplace, student: nn.Module, teacher: nn.Module, works: Sequence[Workplace]) -> StepLoss:
    """What a site adds to the joint loss in the round that `work.order` describes: the closure of its own task.

    Args:
        work: The site's place of work.
        student: The joint model.
        teacher: Mean teacher of the joint model; read by the tasks of a target.
        works: Places of work whose scans the adaptation may take looks from; none leaves it the looks of a federation.

    Raises:
        SiteTaskError: If the task trains nothing that could be trained jointly.
    """
    config, draw = work.config, work.generator("batch")
    match work.order.task:
        case Task.WARM_UP:
            return supervised_loss(
                work,
                student,
                training_examples(work),
                draw=draw,
                batch_size=config.warm_up.batch_size,
                random_look_share=config.warm_up.random_look_share,
            )
        case Task.ADAPT_SOURCE:
            looks = paired_looks(works, work.site.role)
            return adapt_source_loss(work, student, training_examples(work), looks=looks, draw=draw)
        case Task.ADAPT_TARGET:
            looks = paired_looks(works, work.site.role)
            return adapt_target_loss(work, student, teacher, training_examples(work), looks=looks, draw=draw)
        case Task.DIFFUSE:
            denoiser, examples = cast("Denoiser", student), labelled_examples(work)
            set_class_table_row(work, denoiser, examples)
            return diffuse_loss(work, denoiser, examples, draw=draw)
        case Task.RECOLOUR | Task.REFINE_SOURCE:
            loss_of = recolour_loss if work.order.task is Task.RECOLOUR else refine_source_loss
            return loss_of(work, student, labelled_examples(work), draw=draw)
        case Task.REFINE_TARGET | Task.ENSEMBLE:
            is_ensemble = work.order.task is Task.ENSEMBLE
            return (
                ensemble_loss(work, student, teacher, draw=draw)
                if is_ensemble
                else refine_target_loss(work, student, teacher, labelled_examples(work), draw=draw)
            )
        case _:
            msg = f"task {work.order.task.value!r} has no loss to add to others; teach it to `site_loss`"
            raise SiteTaskError(msg)


def ramp_of(work: Workplace) -> float:
    """Factor of the ramp that a target's round of a task has as a learning rate; 1 where it has none."""
    if work.order.task is Task.ADAPT_TARGET:
        return adaptation_ramp(work)
    if work.order.task is Task.ENSEMBLE and work.site.role is SiteRole.TARGET:
        return ensembling_ramp(work)
    return 1.0


def paired_looks(works: Sequence[Workplace], role: SiteRole) -> list[Look]:
    """Looks of the real scans of the other side, which no site of a federation could have.

    Args:
        works: Places of work of all sites.
        role: Side that asks.
    """
    return [
        look_of(example.image, LARGEST_HALF_WIDTH)
        for work in works
        if work.site.role is not role
        for example in training_examples(work)
    ]


def undilute_rows(student: nn.Module, share_of_domain: Mapping[int, float]) -> None:
    """Give every domain's row the gradient of its own site undivided, as the average does (`owned_rows`).

    Only site d's examples reach row d, so its gradient in the joint loss is share_d times the site's own.

    Args:
        student: The joint model; hooks are added to its domain tables.
        share_of_domain: Share of every domain that takes part.
    """
    for name, parameter in student.named_parameters():
        if parameter.requires_grad and name.endswith(DOMAIN_TABLES):
            divisor = torch.ones(len(parameter), *[1] * (parameter.ndim - 1), device=parameter.device)
            for domain, share in share_of_domain.items():
                divisor[domain] = share

            def undiluted(gradient: Tensor, divisor: Tensor = divisor) -> Tensor:
                return gradient / divisor

            parameter.register_hook(undiluted)  # type: ignore[no-untyped-call]
