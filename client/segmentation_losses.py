"""Loss closures of the segmenter at one site: what a student learns there in one step, for whoever takes the step.

Every function reads the site's scans once and returns a loss of the local step; the closure draws its own batch from
`draw`. A round of one site (`client.segmentation_tasks`) and the centralised reference fit the same closures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from client.site_batches import flipped_batch, labelled_batch
from client.workplace import Workplace
from diffuse_uda.algorithms.augmentation import augment_intensity
from diffuse_uda.algorithms.consistency import ramp_up
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.algorithms.structure import random_box_mask
from diffuse_uda.config import StyleProvider
from diffuse_uda.methods import build_method
from diffuse_uda.training.batches import Batch, Example
from diffuse_uda.training.device import autocast
from diffuse_uda.training.looks import Look, aligned, perturbed, randomised
from diffuse_uda.training.steps import source_loss, target_loss
from diffuse_uda.types import ModelName

StepLoss = Callable[[int], Tensor]
"""Loss of local step 0, 1, ...; it draws its own batch."""

PLAIN_SHARE = 0.2
"""Share of the source's samples that keep their look while it learns random ones."""

PAIR = 2
"""CutMix takes two target volumes a step."""


def supervised_loss(
    work: Workplace,
    student: nn.Module,
    examples: list[Example],
    *,
    draw: torch.Generator,
    batch_size: int,
    random_look_share: float = 0.0,
) -> StepLoss:
    """Supervised loss with flips, deformation and intensity augmentation; voxels count as much as they are trusted.

    Args:
        work: The site's place of work.
        student: The segmenter that learns.
        examples: Scans with label maps, exact or pseudo.
        draw: CPU generator of everything random.
        batch_size: Wanted examples of a step.
        random_look_share: Share of the samples that are shown in a look nobody has, in [0, 1].
    """
    size = work.batch_size(ModelName.SEGMENTER, batch_size)
    is_weighted = any(example.voxel_weight is not None for example in examples)
    # Exact labels are trusted: without weights the warm-up has nothing to do with the refinement's configuration.
    floor = work.config.refine.confidence_floor if is_weighted else 1.0

    def loss_at(_step: int) -> Tensor:
        batch = labelled_batch(work, examples, size, draw)
        images = batch.images
        if random_look_share > 0:
            images = shown_at_random(work, batch, draw, plain_share=1.0 - random_look_share)
        with autocast(work.device, work.config.compute):
            logits = student(augment_intensity(images, draw))
        trust = floor + (1.0 - floor) * batch.voxel_weight if is_weighted else None
        return dice_ce_loss(logits, batch.label_map, voxel_weight=trust)

    return loss_at


def adapt_source_loss(
    work: Workplace, student: nn.Module, examples: list[Example], *, looks: Sequence[Look], draw: torch.Generator
) -> StepLoss:
    """Supervised loss on source scans and on their copies in another look (ASC, supervised part).

    Args:
        work: The source's place of work.
        student: The segmenter that learns.
        examples: Source scans with exact label maps.
        looks: What is known of the targets' looks; random looks where nothing is.
        draw: CPU generator of everything random.
    """
    config, variant = work.config, build_method(work.config).adapt
    size = work.batch_size(ModelName.SEGMENTER, config.adapt.batch_size, volumes_per_example=2)

    def loss_at(_step: int) -> Tensor:
        batch = labelled_batch(work, examples, size, draw)
        # The first term takes random looks, some of them plain: on plain scans alone the network would forget within
        # a few hundred steps what the warm-up taught, and a known look only adds to it.
        images = _swapped_source(work, batch, (), draw)
        swapped = _swapped_source(work, batch, looks, draw)
        if variant.augment:
            images, swapped = augment_intensity(images, draw), augment_intensity(swapped, draw)
        with autocast(work.device, config.compute):
            return source_loss(student, images, swapped, batch.label_map)

    return loss_at


def adapt_target_loss(
    work: Workplace,
    student: nn.Module,
    teacher: nn.Module,
    examples: list[Example],
    *,
    looks: Sequence[Look],
    draw: torch.Generator,
) -> StepLoss:
    """lambda_max times the cross-paired consistency with the mean teacher (ASC, unsupervised part).

    The ramp of lambda is not in it: see `adaptation_ramp`.

    Args:
        work: The target's place of work.
        student: The segmenter that learns.
        teacher: Its moving average; whoever takes the steps moves it.
        examples: Target scans; label maps are not read.
        looks: What is known of the source's look; a slightly different scanner where nothing is.
        draw: CPU generator of everything random.
    """
    config, variant = work.config, build_method(work.config).adapt

    def loss_at(_step: int) -> Tensor:
        batch = flipped_batch(work, examples, PAIR, draw)
        images = augment_intensity(batch.images, draw) if variant.augment else batch.images
        swapped = _swapped_target(work, images, looks, draw)
        return config.adapt.lambda_max * _consistency(work, student, teacher, images=images, swapped=swapped, draw=draw)

    return loss_at


def adaptation_ramp(work: Workplace) -> float:
    """lambda(e) / lambda_max of this round of adaptation, in (0, 1]."""
    return ramp_up(work.order.server_round / work.order.num_rounds, 1.0)


def anchored_consistency_loss(
    work: Workplace,
    student: nn.Module,
    teacher: nn.Module,
    examples: list[Example],
    *,
    supervised: StepLoss,
    weight_at: Callable[[int], float],
    draw: torch.Generator,
) -> StepLoss:
    """A supervised loss, and consistency between scans and the same scans from a slightly different scanner.

    Args:
        work: The target's place of work.
        student: The segmenter that learns.
        teacher: Its moving average; whoever takes the steps moves it.
        examples: Target scans; their label maps are not read here.
        supervised: What keeps consistency from agreeing on nothing.
        weight_at: Weight of the consistency in a local step.
        draw: CPU generator of everything random.
    """

    def loss_at(step: int) -> Tensor:
        weight = weight_at(step)
        if weight == 0.0:
            return supervised(step)
        images = augment_intensity(flipped_batch(work, examples, PAIR, draw).images, draw)
        swapped = perturbed(images, draw, work.config.style.window)
        return supervised(step) + weight * _consistency(
            work, student, teacher, images=images, swapped=swapped, draw=draw
        )

    return loss_at


def shown_at_random(work: Workplace, batch: Batch, draw: torch.Generator, *, plain_share: float) -> Tensor:
    """A batch's scans in looks that nobody has, all but a share of them."""
    return randomised(batch.images, batch.label_map, draw, num_classes=work.num_classes, plain_share=plain_share)


def _swapped_source(work: Workplace, batch: Batch, looks: Sequence[Look], draw: torch.Generator) -> Tensor:
    """xs2t: the targets' look where the provider knows one, else looks that nobody has."""
    if work.config.style.provider is StyleProvider.OFF:
        return batch.images
    if not looks:
        return shown_at_random(work, batch, draw, plain_share=PLAIN_SHARE)
    adaptive = build_method(work.config).adapt.adaptive_window
    return aligned(batch.images, looks, draw, window=work.config.style.window, adaptive_window=adaptive)


def _swapped_target(work: Workplace, images: Tensor, looks: Sequence[Look], draw: torch.Generator) -> Tensor:
    """xt2s: the source's look where the provider knows it, else a slightly different scanner."""
    if work.config.style.provider is StyleProvider.OFF:
        return images
    if not looks:
        return perturbed(images, draw, work.config.style.window)
    adaptive = build_method(work.config).adapt.adaptive_window
    return aligned(images, looks, draw, window=work.config.style.window, adaptive_window=adaptive)


def _consistency(
    work: Workplace,
    student: nn.Module,
    teacher: nn.Module,
    *,
    images: Tensor,
    swapped: Tensor,
    draw: torch.Generator,
) -> Tensor:
    i, j, k = images.shape[2:]
    mask = random_box_mask((i, j, k), draw).to(images.device) if work.config.adapt.cut_mix else None
    with autocast(work.device, work.config.compute):
        return target_loss(student, teacher, images, swapped, mask)
