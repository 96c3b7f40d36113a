"""Losses on recoloured scans and rendered pairs: a student learns a target's look from the source's exact labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from client.generation_tasks import APPEARANCE
from client.segmentation_losses import PLAIN_SHARE, StepLoss, anchored_consistency_loss, shown_at_random
from client.site_batches import labelled_batch
from client.workplace import Workplace
from diffuse_uda.algorithms.augmentation import augment_intensity
from diffuse_uda.algorithms.consistency import ramp_up
from diffuse_uda.algorithms.domain_contrast import ClassAppearance
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.training.batches import Batch, Example
from diffuse_uda.training.device import autocast
from diffuse_uda.training.looks import in_known_contrast, rescanned
from diffuse_uda.types import ModelName, SiteRole


def recolour_loss(work: Workplace, student: nn.Module, examples: list[Example], *, draw: torch.Generator) -> StepLoss:
    """Supervised loss on the source's scans in the targets' class contrast, or random looks for some of them."""
    size = work.batch_size(ModelName.SEGMENTER, work.config.recolour.batch_size)
    batch_at = _recoloured_batches(work, examples, size, draw)

    def loss_at(_step: int) -> Tensor:
        batch = batch_at()
        with autocast(work.device, work.config.compute):
            logits = student(augment_intensity(batch.images, draw))
        return dice_ce_loss(logits, batch.label_map)

    return loss_at


def refine_source_loss(
    work: Workplace, student: nn.Module, examples: list[Example], *, draw: torch.Generator
) -> StepLoss:
    """Supervised loss on real scans in random looks and on rendered pairs in the targets' looks."""
    return _refinement_loss(work, student, examples, draw=draw)


def refine_target_loss(
    work: Workplace, student: nn.Module, teacher: nn.Module, examples: list[Example], *, draw: torch.Generator
) -> StepLoss:
    """Supervised loss on rendered pairs and pseudo-labelled scans as an anchor, consistency on the scans.

    Args:
        work: The target's place of work; its state holds the rendered pairs.
        student: The segmenter that learns.
        teacher: Its moving average; whoever takes the steps moves it.
        examples: Target scans with pseudo-labels and their confidence.
        draw: CPU generator of everything random.
    """
    weight = ramp_up(work.order.server_round / work.order.num_rounds, work.config.refine.lambda_max)
    supervised = _refinement_loss(work, student, examples, draw=draw)
    return anchored_consistency_loss(
        work, student, teacher, examples, supervised=supervised, weight_at=lambda _step: weight, draw=draw
    )


def _refinement_loss(
    work: Workplace, student: nn.Module, examples: list[Example], *, draw: torch.Generator
) -> StepLoss:
    """Supervised loss on a draw of real and rendered examples; real ones count as much as their labels are trusted."""
    rendered = _in_the_look_of(work.state.load_examples("synthetic"), work.order.partner)
    size = work.batch_size(ModelName.SEGMENTER, work.config.refine.batch_size)
    num_rendered = max(1, round(size * work.config.refine.synthetic_fraction))
    num_real = max(1, size - num_rendered)
    floor = work.config.refine.confidence_floor
    is_source = work.site.role is SiteRole.SOURCE
    real_at = (
        _recoloured_batches(work, examples, num_real, draw)
        if is_source
        else lambda: labelled_batch(work, examples, num_real, draw)
    )

    def loss_at(_step: int) -> Tensor:
        real = real_at()
        pairs = labelled_batch(work, rendered, num_rendered, draw)
        images = augment_intensity(torch.cat([real.images, rescanned(pairs.images, draw)]), draw)
        with autocast(work.device, work.config.compute):
            logits = student(images)
        # Two losses: a Dice over both at once would let the easy part hide the other. Each counts by its examples.
        trust = floor + (1.0 - floor) * real.voxel_weight
        on_real = dice_ce_loss(logits[:num_real], real.label_map, voxel_weight=trust)
        on_rendered = dice_ce_loss(logits[num_real:], pairs.label_map)
        return (num_real * on_real + num_rendered * on_rendered) * 2 / (num_real + num_rendered)

    return loss_at


def _in_the_look_of(rendered: list[Example], partner: int | None) -> list[Example]:
    """Pairs in one target's look, for a round that is for this target alone."""
    return [pair for pair in rendered if partner is None or pair.domain == partner]


def _recoloured_batches(
    work: Workplace, examples: list[Example], size: int, draw: torch.Generator
) -> Callable[[], Batch]:
    """Batches of the source's scans as other sites see things: exact labels, other pixels, other sizes.

    The round is for one target alone or for all of them; without a class table, or if none of them has told anything,
    all looks are random.
    """
    partner = work.order.partner
    domains = torch.tensor([partner] if partner is not None else range(1, len(work.order.domains)))
    kept = work.state.load_tensors(APPEARANCE)
    known = None if kept is None else ClassAppearance(**kept)
    if known is not None:
        domains = domains[known.is_told[domains]]
        known = known if len(domains) else None

    def batch_at() -> Batch:
        ratios = None
        if known is not None and work.config.refine.resize:
            ratios = known.volume_ratios(domains[torch.randint(len(domains), (size,), generator=draw)])
        batch = labelled_batch(work, examples, size, draw, ratios=ratios)
        near = torch.zeros(size, dtype=torch.bool)
        if known is not None:
            near = torch.rand(size, generator=draw) < work.config.refine.class_contrast_share
        images = batch.images.clone()
        # Each kind of look only for the samples that take it: random ones cost more than a third of a step.
        if known is not None and near.any():
            images[near] = in_known_contrast(batch.images[near], batch.label_map[near], known.of(domains), draw)
        if not near.all():
            rest = dataclasses.replace(batch, images=batch.images[~near], label_map=batch.label_map[~near])
            images[~near] = shown_at_random(work, rest, draw, plain_share=PLAIN_SHARE)
        return dataclasses.replace(batch, images=images)

    return batch_at
