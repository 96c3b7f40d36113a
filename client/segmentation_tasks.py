"""Rounds of the segmenter: warm-up, ASC / ASC+, refinement. Each receives the global weights and returns its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from client.cases import examples_of, training_cases
from client.workplace import Workplace, trained
from diffuse_uda.algorithms.augmentation import augment_intensity
from diffuse_uda.algorithms.consistency import ramp_up
from diffuse_uda.algorithms.ema import ema_decay, update_ema_
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.algorithms.structure import (
    deform_image,
    deform_label_map,
    random_box_mask,
    random_deformation,
    random_flip,
)
from diffuse_uda.config import FitConfig, StyleProvider
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.training.batches import Batch, Example, draw_batch
from diffuse_uda.training.device import autocast
from diffuse_uda.training.fitting import fit
from diffuse_uda.training.looks import Look, aligned, look_of, perturbed, randomised
from diffuse_uda.training.steps import source_loss, target_loss
from diffuse_uda.types import ModelName, SiteRole, StateDict

LARGEST_HALF_WIDTH = 6
"""Half-width of published and mined amplitude blocks: 726 numbers."""

PLAIN_SHARE = 0.2
"""Share of the source's samples that keep their look while it learns random ones."""

PAIR = 2
"""CutMix takes two target volumes a step."""


def warm_up(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on its own scans, as any single hospital would train."""
    examples = examples_of(training_cases(work.site, work.config.grid, work.state), work.domain)
    return fit_supervised(work, weights, examples, work.config.warm_up)


def fit_supervised(work: Workplace, weights: StateDict, examples: list[Example], fitting: FitConfig) -> SiteReply:
    """Supervised steps on labelled examples, with flips, deformation and intensity augmentation."""
    student = work.model(ModelName.SEGMENTER, weights)
    size = work.batch_size(ModelName.SEGMENTER, fitting.batch_size)
    draw = work.generator("batch")

    def loss_at(_step: int) -> Tensor:
        batch = _labelled_batch(work, examples, size, draw)
        with autocast(work.device, work.config.compute):
            logits = student(augment_intensity(batch.images, draw))
        return dice_ce_loss(logits, batch.label_map)

    return _fitted(work, student, loss_at, fitting, len(examples))


def adapt_source(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on its scans and on their copies in another look (ASC, supervised part)."""
    config, variant = work.config, build_method(work.config).adapt
    examples = examples_of(training_cases(work.site, config.grid, work.state), work.domain)
    student = work.model(ModelName.SEGMENTER, weights)
    looks = _foreign_looks(work)
    size = work.batch_size(ModelName.SEGMENTER, config.adapt.batch_size, volumes_per_example=2)
    draw = work.generator("batch")

    def loss_at(_step: int) -> Tensor:
        batch = _labelled_batch(work, examples, size, draw)
        # Without a foreign look both terms take random ones: the warm-up has taught the plain look already.
        images = batch.images if looks else _swapped_source(work, batch, looks, draw)
        swapped = _swapped_source(work, batch, looks, draw)
        if variant.augment:
            images, swapped = augment_intensity(images, draw), augment_intensity(swapped, draw)
        with autocast(work.device, config.compute):
            return source_loss(student, images, swapped, batch.label_map)

    return _fitted(work, student, loss_at, config.adapt, len(examples))


def adapt_target(work: Workplace, weights: StateDict) -> SiteReply:
    """Target: cross-paired consistency with the mean teacher (ASC, unsupervised part)."""
    config, variant = work.config, build_method(work.config).adapt
    examples = examples_of(training_cases(work.site, config.grid, work.state), work.domain)
    student = work.model(ModelName.SEGMENTER, weights)
    teacher = _teacher(work, weights)
    looks = _foreign_looks(work)
    draw = work.generator("batch")

    def loss_at(_step: int) -> Tensor:
        batch = _flipped_batch(work, examples, PAIR, draw)
        images = augment_intensity(batch.images, draw) if variant.augment else batch.images
        swapped = _swapped_target(work, images, looks, draw)
        return config.adapt.lambda_max * _consistency(work, student, teacher, images=images, swapped=swapped, draw=draw)

    # The ramp acts on the learning rate: AdamW would normalise a factor on the loss away. Under SGD both are the same.
    ramp = ramp_up(work.order.server_round / work.order.num_rounds, 1.0)
    reply = _fitted(
        work, student, loss_at, config.adapt, len(examples), rate_scale=ramp, after_step=_follow(work, teacher, student)
    )
    work.state.save_tensors("teacher", teacher.state_dict())
    return reply


def refine_source(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on real scans in random looks and on rendered pairs in the targets' looks."""
    examples = examples_of(training_cases(work.site, work.config.grid, work.state), work.domain)
    student = work.model(ModelName.SEGMENTER, weights)
    draw = work.generator("batch")
    supervised = _refinement_loss(work, student, examples, draw)
    return _fitted(work, student, lambda _step: supervised(), work.config.refine, len(examples))


def refine_target(work: Workplace, weights: StateDict) -> SiteReply:
    """Target: supervised steps on rendered pairs and pseudo-labelled scans as an anchor, consistency on its scans."""
    config = work.config
    examples = work.state.load_examples("pseudo-labelled")
    student = work.model(ModelName.SEGMENTER, weights)
    teacher = _teacher(work, weights)
    weight = ramp_up(work.order.server_round / work.order.num_rounds, config.refine.lambda_max)
    draw = work.generator("batch")
    supervised = _refinement_loss(work, student, examples, draw)

    def loss_at(_step: int) -> Tensor:
        images = augment_intensity(_flipped_batch(work, examples, PAIR, draw).images, draw)
        swapped = perturbed(images, draw, config.style.window)
        return supervised() + weight * _consistency(work, student, teacher, images=images, swapped=swapped, draw=draw)

    follow = _follow(work, teacher, student)
    reply = _fitted(work, student, loss_at, config.refine, len(examples), after_step=follow)
    work.state.save_tensors("teacher", teacher.state_dict())
    return reply


def _refinement_loss(
    work: Workplace, student: nn.Module, examples: list[Example], draw: torch.Generator
) -> Callable[[], Tensor]:
    """Supervised loss on a draw of real and rendered examples; real ones count as much as their labels are trusted."""
    rendered = work.state.load_examples("synthetic")
    size = work.batch_size(ModelName.SEGMENTER, work.config.refine.batch_size)
    num_rendered = max(1, round(size * work.config.refine.synthetic_fraction))
    num_real = max(1, size - num_rendered)

    def loss() -> Tensor:
        real = _labelled_batch(work, examples, num_real, draw)
        pairs = _labelled_batch(work, rendered, num_rendered, draw)
        look = _swapped_source(work, real, [], draw) if work.site.role is SiteRole.SOURCE else real.images
        images = augment_intensity(torch.cat([look, pairs.images]), draw)
        with autocast(work.device, work.config.compute):
            logits = student(images)
        # Two losses: a Dice over both at once would let the easy half hide the other.
        return dice_ce_loss(logits[:num_real], real.label_map, voxel_weight=real.voxel_weight) + dice_ce_loss(
            logits[num_real:], pairs.label_map
        )

    return loss


def _swapped_source(work: Workplace, batch: Batch, looks: list[Look], draw: torch.Generator) -> Tensor:
    """xs2t: the targets' look where the provider knows one, else looks that nobody has."""
    if not looks:
        return randomised(batch.images, batch.label_map, draw, num_classes=work.num_classes, plain_share=PLAIN_SHARE)
    adaptive = build_method(work.config).adapt.adaptive_window
    return aligned(batch.images, looks, draw, window=work.config.style.window, adaptive_window=adaptive)


def _swapped_target(work: Workplace, images: Tensor, looks: list[Look], draw: torch.Generator) -> Tensor:
    """xt2s: the source's look where the provider knows it, else a slightly different scanner."""
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


def _teacher(work: Workplace, weights: StateDict) -> nn.Module:
    """Last round's teacher moved towards the new global weights, or a copy of them in the first round.

    The received weights are remembered as well: the last few make the ensemble that labels the scans.
    """
    work.state.remember_global(weights, keep=work.config.pseudo_label.num_ensembled_rounds - 1)
    start = {name: tensor.clone() for name, tensor in weights.items()}
    kept = work.state.load_tensors("teacher")
    if kept is not None:
        update_ema_(start, kept, 1.0 - work.config.adapt.teacher_round_decay)
    teacher = work.model(ModelName.SEGMENTER, start)
    return teacher.requires_grad_(requires_grad=False).eval()


def _follow(work: Workplace, teacher: nn.Module, student: nn.Module) -> Callable[[int], None]:
    """EMA of the student after every step; the decay grows with the steps of this round."""
    return lambda step: update_ema_(teacher, student, ema_decay(step, work.config.adapt.ema_decay))


def _foreign_looks(work: Workplace) -> list[Look]:
    """What this site knows of the other side's looks; nothing with provider `none`, or before the first rendering."""
    provider = work.config.style.provider
    if provider is StyleProvider.MEAN_BLOCK:
        others = work.order.domains[1:] if work.domain == 0 else work.order.domains[:1]
        return [Look(block=work.order.style_blocks[site]) for site in others if site in work.order.style_blocks]
    if provider is StyleProvider.SYNTHETIC:
        rendered = work.state.load_examples("synthetic") + work.state.load_examples("looks")
        foreign = [pair for pair in rendered if pair.domain != work.domain]
        return [look_of(pair.image, LARGEST_HALF_WIDTH) for pair in foreign]
    return []


def _labelled_batch(work: Workplace, examples: list[Example], size: int, draw: torch.Generator) -> Batch:
    """Draw a batch, flip and deform images, label maps and weights by the same field."""
    batch = _flipped_batch(work, examples, size, draw)
    i, j, k = batch.images.shape[2:]
    field = random_deformation(size, (i, j, k), draw, device=work.device)
    return dataclasses.replace(
        batch,
        images=deform_image(batch.images, field),
        label_map=deform_label_map(batch.label_map, field),
        voxel_weight=deform_image(batch.voxel_weight, field),
    )


def _flipped_batch(work: Workplace, examples: list[Example], size: int, draw: torch.Generator) -> Batch:
    batch = draw_batch(examples, size, work.config.grid.patch_size, draw, work.device)
    images, label_map, weight = random_flip([batch.images, batch.label_map, batch.voxel_weight], draw)
    return dataclasses.replace(batch, images=images, label_map=label_map, voxel_weight=weight)


def _fitted(
    work: Workplace,
    student: nn.Module,
    loss_at: Callable[[int], Tensor],
    fitting: FitConfig,
    num_examples: int,
    *,
    rate_scale: float = 1.0,
    after_step: Callable[[int], None] | None = None,
) -> SiteReply:
    """Take the round's steps with the optimiser this site kept, keep it again, reply with the weights."""
    result = fit(
        student,
        loss_at,
        work.plan(fitting).scaled(rate_scale),
        optimizer_state=work.state.load_optimizer(work.order.phase) if work.order.server_round > 1 else None,
        after_step=after_step,
    )
    work.state.save_optimizer(work.order.phase, result.optimizer_state)
    return trained(student, num_examples, {"loss": result.mean_loss})
