"""Looks of a site's scans, which never leave it, and rounds of self-ensembling between them (MT-UDA, LE-UDA)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from client.segmentation_losses import StepLoss
from client.segmentation_tasks import fitted, following
from client.site_batches import labelled_batch, labelled_examples, training_examples
from client.workplace import Workplace
from diffuse_uda.algorithms.augmentation import augment_intensity
from diffuse_uda.algorithms.consistency import ramp_up
from diffuse_uda.algorithms.ema import update_ema_
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.config import Translator
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.training.batches import Batch, Example, draw_batch
from diffuse_uda.training.device import autocast
from diffuse_uda.training.ensembling import EnsemblingTerms, ensembling_terms
from diffuse_uda.training.generator import translate as translated_by_generator
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.training.looks import Look, aligned, in_known_contrast
from diffuse_uda.types import ModelName, SiteRole, StateDict

EXACT = "views-exact"
PSEUDO = "views-pseudo"
"""Scans with their looks as channels: the scan, across, and back. A scan and its looks share every deformation."""

LooksOf = Callable[[Tensor, Tensor, int, int], Tensor]
"""(images, label map, index of the domain whose look they have, index of the wanted one) -> images."""


def translate(work: Workplace, weights: StateDict) -> SiteReply:
    """Both: show every scan in another domain's look and back again, several times, and keep the looks.

    At the source the other domain is one of the targets by turns, or the partner; at a target it is the source.
    """
    draw = work.generator("translate")
    look = _translator(work, cast("Denoiser", work.model(ModelName.DENOISER, weights)), draw)
    examples, is_source = labelled_examples(work), work.site.role is SiteRole.SOURCE
    num_exact = len(training_examples(work)) if is_source else 0
    others = list(range(1, len(work.order.domains))) if is_source else [0]
    views: dict[str, list[Example]] = {EXACT: [], PSEUDO: []}
    for repetition in range(work.config.ensemble.num_translations):
        for index, example in enumerate(examples):
            raise_if_stopped()
            other = others[(repetition + index) % len(others)]
            batch = draw_batch([example], 1, work.config.grid.patch_size, draw, work.device)
            across = look(batch.images, batch.label_map, work.domain, other)
            back = look(across, batch.label_map, other, work.domain)
            views[EXACT if index < num_exact else PSEUDO].append(
                dataclasses.replace(
                    example,
                    image=torch.cat([batch.images, across, back], dim=1)[0].cpu(),
                    label_map=batch.label_map[0].cpu(),
                    voxel_weight=batch.voxel_weight[0].cpu(),
                )
            )
    for name, kept in views.items():
        work.state.save_examples(name, kept)
    return SiteReply(num_examples=len(examples), metrics={})


def ensemble(work: Workplace, weights: StateDict) -> SiteReply:
    """Both: self-ensembling steps on the looks of the site's scans; at the source with the labels it has."""
    student, name = work.model(ModelName.SEGMENTER, weights), f"teacher-{work.order.phase}"
    start = {key: tensor.clone() for key, tensor in weights.items()}
    kept = work.state.load_tensors(name)
    if kept is not None:
        update_ema_(start, kept, 1.0 - work.config.adapt.teacher_round_decay)
    teacher = work.model(ModelName.SEGMENTER, start).requires_grad_(requires_grad=False).eval()
    follow = following(teacher, student, work.config.adapt.ema_decay)
    first_step = work.plan(work.config.ensemble).first_step
    is_source = work.site.role is SiteRole.SOURCE
    reply = fitted(
        work,
        student,
        ensemble_loss(work, student, teacher, draw=work.generator("batch")),
        work.config.ensemble,
        len(labelled_examples(work)),
        # as in the adaptation: AdamW would normalise a factor on a loss that stands alone away
        rate_scale=1.0 if is_source else ensembling_ramp(work),
        after_step=lambda step: follow(first_step + step),
    )
    work.state.save_tensors(name, teacher.state_dict())
    return reply


def ensembling_ramp(work: Workplace) -> float:
    """How much the teachers' word counts in this round, in (0, 1]; the first turn begins with little of it."""
    if work.order.pass_index > 0:
        return 1.0
    return ramp_up(work.order.server_round / work.order.num_rounds, 1.0)


def ensemble_loss(work: Workplace, student: nn.Module, teacher: nn.Module, *, draw: torch.Generator) -> StepLoss:
    """Self-ensembling on scans and their looks, and supervision in all three looks of those with exact labels.

    Pseudo-labels, which some looks were made with, are not read.

    Args:
        work: The site's place of work; its state holds the looks.
        student: The segmenter that learns, with its critics.
        teacher: Its moving average; whoever takes the steps moves it.
        draw: CPU generator of everything random.

    Raises:
        SiteTaskError: If there are no looks at all.
    """
    config = work.config.ensemble
    exact, pseudo = work.state.load_examples(EXACT), work.state.load_examples(PSEUDO)
    if not exact and not pseudo:
        msg = f"no looks in {work.state.folder}: the phase `translate` has to come before `ensemble`"
        raise SiteTaskError(msg)
    size = work.batch_size(ModelName.SEGMENTER, config.batch_size, volumes_per_example=3)
    is_source = work.site.role is SiteRole.SOURCE
    ramp = ensembling_ramp(work) if is_source else 1.0

    def weighted(terms: EnsemblingTerms) -> Tensor:
        taught = config.intra_weight * terms.intra + config.inter_weight * terms.inter
        return ramp * taught + config.adversarial_weight * terms.fooling + terms.critics

    def loss_at(_step: int) -> Tensor:
        batches = [labelled_batch(work, examples, size, draw) for examples in (exact, pseudo) if examples]
        own, across, back = _looks(batches, draw)
        with autocast(work.device, work.config.compute):
            if not is_source:
                return weighted(ensembling_terms(student, teacher, [across], [own, back], draw))
            terms = ensembling_terms(student, teacher, [own, back], [across], draw)
            if not exact:
                return weighted(terms)
            supervised = [logits[:size] for logits in terms.logits] + [student(across[:size])]
        label_map = batches[0].label_map
        losses = [0.5 * dice_ce_loss(logits, label_map) for logits in supervised]
        return torch.stack(losses).mean() + weighted(terms)

    return loss_at


def _looks(batches: list[Batch], draw: torch.Generator) -> list[Tensor]:
    """The scan, across and back of all batches, each augmented on its own: intensities tell nothing but looks."""
    looks = torch.cat([batch.images for batch in batches]).unbind(dim=1)
    return [augment_intensity(look[:, None], draw) for look in looks]


def _translator(work: Workplace, denoiser: Denoiser, draw: torch.Generator) -> LooksOf:
    config = work.config.ensemble
    match config.translator:
        case Translator.DIFFUSION | Translator.ENCODING as translator:

            def by_generator(images: Tensor, label_map: Tensor, own: int, wanted: int) -> Tensor:
                domains = (
                    torch.full((len(images),), own, device=work.device),
                    torch.full((len(images),), wanted, device=work.device),
                )
                with autocast(work.device, work.config.compute):
                    return translated_by_generator(
                        denoiser,
                        images,
                        label_map,
                        domains,
                        diffusion=work.config.diffusion,
                        generator=draw,
                        strength=config.translation_strength,
                        encodes=translator is Translator.ENCODING,
                    ).float()

            return by_generator
        case Translator.CLASS_CONTRAST:
            assert denoiser.class_table is not None  # noqa: S101 - the configuration asks for it
            known = denoiser.class_table.appearance(range(len(work.order.domains)))
            return lambda images, label_map, _own, wanted: in_known_contrast(
                images, label_map, known.of(torch.tensor([wanted])), draw
            )
        case Translator.FOURIER:
            blocks, sites = work.order.style_blocks, work.order.domains
            return lambda images, _label_map, _own, wanted: aligned(
                images,
                [Look(block=blocks[sites[wanted]])],
                draw,
                window=work.config.style.window,
                adaptive_window=False,
            )
        case Translator.NONE:
            return lambda images, _label_map, _own, _wanted: images
