"""Looks of a site's scans, which never leave it, and rounds of self-ensembling between them (MT-UDA, LE-UDA)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from client.generation_tasks import APPEARANCE
from client.segmentation_losses import StepLoss
from client.segmentation_tasks import fitted, following
from client.site_batches import labelled_batch, labelled_examples, training_examples
from client.workplace import Workplace
from diffuse_uda.algorithms.augmentation import augment_intensity
from diffuse_uda.algorithms.consistency import ramp_up
from diffuse_uda.algorithms.domain_contrast import ClassAppearance
from diffuse_uda.algorithms.ema import update_ema_
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.config import Translator
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.training.batches import Example, draw_batch
from diffuse_uda.training.device import autocast
from diffuse_uda.training.ensembling import EnsemblingTerms, ensembling_terms
from diffuse_uda.training.generator import translate as translated_by_generator
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.training.looks import Look, aligned, in_known_contrast, randomised
from diffuse_uda.types import ModelName, SiteRole, StateDict

EXACT = "views-exact"
PSEUDO = "views-pseudo"
"""Scans with looks a generator made as channels: the scan, across, and back. All three share every deformation."""

_BLOCKS_FIX = "set allow-style-blocks in the node-config there, or take another translator"

LooksOf = Callable[[Tensor, Tensor, int], Tensor]
"""(images, label map, index of the wanted domain) -> images."""


def translate(work: Workplace, weights: StateDict) -> SiteReply:
    """Both: have the generator show every scan in another domain's look and back again, several times; keep the looks.

    At the source the other domain is one of the targets by turns; at a target it is the source.
    """
    draw = work.generator("translate")
    denoiser = cast("Denoiser", work.model(ModelName.DENOISER, weights))
    examples, is_source = labelled_examples(work), work.site.role is SiteRole.SOURCE
    num_exact = len(training_examples(work)) if is_source else 0
    others = list(range(1, len(work.order.domains))) if is_source else [0]

    def look(images: Tensor, label_map: Tensor, own: int, wanted: int) -> Tensor:
        with autocast(work.device, work.config.compute):
            return translated_by_generator(
                denoiser,
                images,
                label_map,
                (
                    torch.full((len(images),), own, device=work.device),
                    torch.full((len(images),), wanted, device=work.device),
                ),
                diffusion=work.config.diffusion,
                generator=draw,
                strength=work.config.ensemble.translation_strength,
                encodes=work.config.ensemble.translator is Translator.ENCODING,
            ).float()

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

    Pseudo-labels serve to make looks with, and are taught to nobody.

    Args:
        work: The site's place of work; its state holds the scans that were labelled, and what looks need.
        student: The segmenter that learns, with its critics.
        teacher: Its moving average; whoever takes the steps moves it.
        draw: CPU generator of everything random.

    Raises:
        SiteTaskError: If an earlier phase that this one needs has not been here.
    """
    config = work.config.ensemble
    is_source = work.site.role is SiteRole.SOURCE
    # three looks of a scan, and at the source of one with exact labels beside one without
    size = work.batch_size(ModelName.SEGMENTER, config.batch_size, volumes_per_example=6 if is_source else 3)
    ramp = ensembling_ramp(work) if is_source else 1.0
    views_at = _views(work, size, draw)

    def weighted(terms: EnsemblingTerms) -> Tensor:
        taught = config.intra_weight * terms.intra + config.inter_weight * terms.inter
        return ramp * taught + config.adversarial_weight * terms.fooling + terms.critics

    def loss_at(_step: int) -> Tensor:
        batch = views_at()
        own, across, back = (augment_intensity(look[:, None], draw) for look in batch.images.unbind(dim=1))
        like_source, like_target = ([own, back], [across]) if is_source else ([across], [own, back])
        with autocast(work.device, work.config.compute):
            terms = ensembling_terms(student, teacher, like_source, like_target, draw, both_ways=config.both_directions)
            if batch.num_exact == 0:
                return weighted(terms)
            exact = slice(batch.num_exact)
            supervised = [logits[exact] for logits in terms.logits]
            if not config.both_directions:
                supervised.append(student(across[exact]))
        label_map = batch.label_map[exact]
        losses = [0.5 * dice_ce_loss(logits, label_map) for logits in supervised]
        return torch.stack(losses).mean() + weighted(terms)

    return loss_at


@dataclass(frozen=True, kw_only=True, slots=True)
class _Views:
    """Scans in all three looks, those with exact labels first."""

    images: Float[Tensor, "batch 3 i j k"]
    label_map: Int[Tensor, "batch 1 i j k"]
    num_exact: int


def _views(work: Workplace, size: int, draw: torch.Generator) -> Callable[[], _Views]:
    """Batches of `size` scans with exact labels, where there are any, and as many without."""
    is_source = work.site.role is SiteRole.SOURCE
    generated = work.config.ensemble.has_generated_looks
    exact = work.state.load_examples(EXACT) if generated else training_examples(work) if is_source else []
    pseudo = work.state.load_examples(PSEUDO if generated else "pseudo-labelled")
    if not exact and not pseudo:
        before = "translate" if generated else "pseudo-label"
        msg = f"no scans to ensemble on in {work.state.folder}: the phase `{before}` has to come before `ensemble`"
        raise SiteTaskError(msg)
    others = [0] if not is_source else [work.order.partner] if work.order.partner else range(1, len(work.order.domains))
    known = _known_looks(work)
    look = _look_at_hand(work, known, draw)
    resizes = is_source and known is not None and work.config.refine.resize

    def views_at() -> _Views:
        other = others[int(torch.randint(len(others), (), generator=draw))]
        ratios = known.volume_ratios(torch.tensor([other] * size)) if known is not None and resizes else None
        batches = [
            labelled_batch(work, examples, size, draw, ratios=ratios) for examples in (exact, pseudo) if examples
        ]
        images = torch.cat([batch.images for batch in batches])
        label_map = torch.cat([batch.label_map for batch in batches])
        if not generated:
            across = look(images, label_map, other)
            images = torch.cat([images, across, look(across, label_map, work.domain)], dim=1)
        return _Views(images=images, label_map=label_map, num_exact=size if exact else 0)

    return views_at


def _known_looks(work: Workplace) -> ClassAppearance | None:
    """The class table, where it is the translator."""
    if work.config.ensemble.translator is not Translator.CLASS_CONTRAST:
        return None
    kept = work.state.load_tensors(APPEARANCE)
    if kept is None:
        msg = f"no class table in {work.state.folder}: the phase `keep-table` has to come before `ensemble`"
        raise SiteTaskError(msg)
    return ClassAppearance(**kept)


def _look_at_hand(work: Workplace, known: ClassAppearance | None, draw: torch.Generator) -> LooksOf:
    """Looks that cost little, hence are drawn anew in every step."""
    if known is not None:
        return _painted(work, known, draw)
    if work.config.ensemble.translator is Translator.FOURIER:
        return _aligned(work, draw)
    return lambda images, _label_map, _wanted: images


def _painted(work: Workplace, known: ClassAppearance, draw: torch.Generator) -> LooksOf:
    def look(images: Tensor, label_map: Tensor, wanted: int) -> Tensor:
        if not known.is_told[wanted]:  # a site over too few cases keeps its numbers to itself
            return randomised(images, label_map, draw, num_classes=work.num_classes)
        return in_known_contrast(images, label_map, known.of(torch.tensor([wanted])), draw)

    return look


def _aligned(work: Workplace, draw: torch.Generator) -> LooksOf:
    blocks, sites = work.order.style_blocks, work.order.domains
    if silent := [site for site in sites if site not in blocks]:
        msg = f"ensemble.translator = fourier needs a style block of every site, found none of {silent}: {_BLOCKS_FIX}"
        raise SiteTaskError(msg)
    window = work.config.style.window
    return lambda images, _label_map, wanted: aligned(
        images, [Look(block=blocks[sites[wanted]])], draw, window=window, adaptive_window=False
    )
