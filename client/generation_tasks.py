"""Pseudo-labels, rounds of the denoiser, rendering of pairs. Labels, pseudo-labels and pairs never leave the site."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor

from client.site_batches import deformation_of, labelled_examples, training_examples, unlabelled_examples
from client.workplace import Workplace, trained
from diffuse_uda.algorithms.domain_contrast import ClassAppearance, measure_appearance
from diffuse_uda.algorithms.pseudo_labels import confidence_weight, ensemble_probabilities, pseudo_label
from diffuse_uda.algorithms.structure import deform_image, deform_label_map, random_deformation, random_flip
from diffuse_uda.config import StyleProvider
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.landmarks import Landmark, passing
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.training.batches import Batch, Example, draw_batch
from diffuse_uda.training.device import autocast
from diffuse_uda.training.fitting import fit
from diffuse_uda.training.generator import denoising_loss, render
from diffuse_uda.training.inference import predict_probabilities, sharpen_for_site
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.training.looks import seen_in_domain
from diffuse_uda.types import ModelName, SiteRole, StateDict

logger = logging.getLogger(__name__)

APPEARANCE = "appearance"
"""What the source keeps of the class table it received: what classes look like in every domain, its own first."""

TRUSTED = 0.5
"""Weight above which a pseudo-labelled voxel tells what its class looks like."""


def label_scans(work: Workplace, weights: StateDict) -> SiteReply:
    """Label the training scans without a label map with the mean of the last global models; keep how sure they were.

    These are all of a target's, and what a source has of them. The last models since scans were labelled before:
    those of an earlier part of the method are far worse.
    """
    config = work.config
    cases = unlabelled_examples(work)
    if not cases:
        return SiteReply(num_examples=len(training_examples(work)), metrics={})
    remembered = work.state.recent_globals()
    models = [
        work.model(ModelName.SEGMENTER, kept)
        for kept in [*remembered, weights][-config.pseudo_label.num_ensembled_rounds :]
    ]
    probabilities = []
    for case in cases:
        raise_if_stopped()
        answers = [predict_probabilities(model, case.image, config.grid, config.compute) for model in models]
        probabilities.append(ensemble_probabilities(answers))
    labelled, sure = [], 0.0
    # Intensities of all scans of this site decide between what the network thinks possible.
    posteriors = sharpen_for_site([case.image for case in cases], probabilities, config)
    again = work.order.pass_index > 0 or work.order.phase.startswith(PhaseName.RELABEL.value)
    share = config.pseudo_label.later_mixture_share if again else config.pseudo_label.mixture_share
    for case, answer, sharpened in zip(cases, probabilities, posteriors, strict=True):
        pseudo = pseudo_label(
            share * sharpened + (1.0 - share) * answer,
            keep_largest_component=True,
            min_fraction=config.pseudo_label.min_component_fraction,
        )
        weight = confidence_weight(pseudo.confidence, floor=1.0 / work.num_classes)
        sure += float(pseudo.confidence[case.image > 0].mean()) / len(cases)
        labelled.append(dataclasses.replace(case, label_map=pseudo.label_map.to(torch.uint8), voxel_weight=weight))
    passing(Landmark.PSEUDO_LABEL)
    work.state.save_examples("pseudo-labelled", labelled)
    work.state.forget_globals()
    return SiteReply(num_examples=len(cases), metrics={"confidence": sure})


def describe(work: Workplace, weights: StateDict) -> SiteReply:
    """Both: put what this site's classes look like into its row of the class table; nothing is trained."""
    examples = labelled_examples(work)
    denoiser = cast("Denoiser", work.model(ModelName.DENOISER, weights))
    set_class_table_row(work, denoiser, examples)
    return trained(denoiser, len(examples), {})


def keep_table(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: keep what the class table tells about the classes of every domain."""
    _keep_table(work, cast("Denoiser", work.model(ModelName.DENOISER, weights)))
    return SiteReply(num_examples=len(training_examples(work)), metrics={})


def diffuse(work: Workplace, weights: StateDict) -> SiteReply:
    """Both: steps of the denoiser on (image, label map); every pair is flipped and deformed by one field."""
    examples = labelled_examples(work)
    denoiser = cast("Denoiser", work.model(ModelName.DENOISER, weights))
    set_class_table_row(work, denoiser, examples)
    result = fit(
        denoiser,
        diffuse_loss(work, denoiser, examples, draw=work.generator("batch")),
        work.plan(work.config.diffuse),
        optimizer_state=work.state.load_optimizer(work.order.phase) if work.order.server_round > 1 else None,
        weight_decay=0.0,
    )
    work.state.save_optimizer(work.order.phase, result.optimizer_state)
    return trained(denoiser, len(examples), {"loss": result.mean_loss})


def diffuse_loss(
    work: Workplace, denoiser: Denoiser, examples: list[Example], *, draw: torch.Generator
) -> Callable[[int], Tensor]:
    """Loss of the denoiser on a site's (image, label map) pairs, every pair flipped and deformed by one field.

    Args:
        work: The site's place of work.
        denoiser: The network that learns.
        examples: Scans with label maps, exact or pseudo; pseudo-labels weigh as much as they are trusted.
        draw: CPU generator of everything random.
    """
    config = work.config
    size = work.batch_size(ModelName.DENOISER, config.diffuse.batch_size)

    def loss_at(_step: int) -> Tensor:
        passing(Landmark.DIFFUSION_STEP)
        batch = _diffusion_batch(work, examples, size, draw)
        with autocast(work.device, config.compute):
            return denoising_loss(denoiser, batch, config.diffusion, draw)

    return loss_at


def set_class_table_row(work: Workplace, denoiser: Denoiser, examples: list[Example]) -> None:
    """Put what this site's classes look like into its row of the class table when a diffusion phase begins.

    Not over fewer cases than statistics need to leave: the row would stay here, and a network that has learned beside
    it would fit nobody else's.
    """
    if denoiser.class_table is None or work.order.server_round != 1:
        return
    wanted = work.config.exchange.min_cases_for_statistics
    if len(examples) < wanted:
        words = "%d cases, and statistics leave over %d: this site tells nothing about its classes"
        logger.warning(words, len(examples), wanted)
        return
    denoiser.class_table.describe(work.domain, appearance_of(examples, work.num_classes, least=wanted))


def appearance_of(examples: list[Example], num_classes: int, *, least: int = 1) -> ClassAppearance:
    """Describe a site's classes; what they look like is told by voxels whose label has more than half weight.

    Args:
        examples: Scans with label maps, exact or pseudo.
        num_classes: Classes, background included.
        least: Cases that a class has to be seen in; one that fewer patients have is left out like one that nobody has.
    """
    images, classes, trusted = [], [], []
    for example in examples:
        keep = torch.ones_like(example.image, dtype=torch.bool)
        if example.voxel_weight is not None:
            keep = example.voxel_weight > TRUSTED
        images.append(example.image.flatten())
        classes.append(_label_map_of(example).flatten())
        trusted.append(keep.flatten())
    rare = _seen_in_fewer(classes, num_classes, least)
    told = [~rare[label_map.long()] for label_map in classes]
    return measure_appearance(
        torch.cat([image * known for image, known in zip(images, told, strict=True)]),
        torch.cat(classes),
        num_classes=num_classes,
        trusted=torch.cat(trusted) & torch.cat(told),
    )


def _seen_in_fewer(label_maps: list[Tensor], num_classes: int, least: int) -> Tensor:
    seen = sum(torch.bincount(label_map.long(), minlength=num_classes) > 0 for label_map in label_maps)
    return cast("Tensor", seen) < least


def synthesise(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: its label maps in every target's look; target: its pseudo-labels in its own. The pairs stay here."""
    denoiser = cast("Denoiser", work.model(ModelName.DENOISER, weights))
    examples = labelled_examples(work)
    is_source = work.site.role is SiteRole.SOURCE
    wanted = list(range(1, len(work.order.domains))) if is_source else [work.domain]
    if is_source:
        _keep_table(work, denoiser)
    pairs = list(_rendered(work, denoiser, examples, wanted, work.generator("synthesise")))
    work.state.save_examples("synthetic", pairs)
    if work.config.style.provider is StyleProvider.SYNTHETIC and work.site.role is SiteRole.TARGET:
        looks = list(_rendered(work, denoiser, examples[:4], [0], work.generator("looks")))
        work.state.save_examples("looks", looks)
    return SiteReply(num_examples=len(pairs), metrics={"pairs": float(len(pairs))})


def _keep_table(work: Workplace, denoiser: Denoiser) -> None:
    """Keep the rows of all domains for the steps on labelled scans; a generator without a class table has none."""
    if denoiser.class_table is None:
        return
    known = denoiser.class_table.appearance(range(len(work.order.domains)))
    for site_id, is_told in zip(work.order.domains, known.is_told.tolist(), strict=True):
        if not is_told:
            logger.warning("site %s tells nothing about its classes: random looks stand for its own", site_id)
    work.state.save_tensors(APPEARANCE, dataclasses.asdict(known))


def _diffusion_batch(work: Workplace, examples: list[Example], size: int, draw: torch.Generator) -> Batch:
    floor = work.config.diffuse.confidence_floor
    batch = draw_batch(examples, size, work.config.grid.patch_size, draw, work.device)
    images, label_map, weight = random_flip([batch.images, batch.label_map, batch.voxel_weight], draw)
    if work.config.diffuse.deform:
        i, j, k = images.shape[2:]
        field = random_deformation(size, (i, j, k), draw, device=work.device)
        images, weight = deform_image(images, field), deform_image(weight, field)
        label_map = deform_label_map(label_map, field)
    return Batch(images=images, label_map=label_map, voxel_weight=floor + (1.0 - floor) * weight, domains=batch.domains)


def _rendered(
    work: Workplace, denoiser: Denoiser, examples: list[Example], domains: list[int], draw: torch.Generator
) -> Iterator[Example]:
    """Render the label map of every example in every wanted look, as often as the study says, in batches."""
    config = work.config.synthesise
    jobs = [
        dataclasses.replace(example, domain=domain)
        for domain in domains
        for _ in range(config.num_samples_per_label_map)
        for example in examples
    ]
    table = denoiser.class_table
    known = None if table is None else table.appearance(range(len(work.order.domains)))
    for start in range(0, len(jobs), config.batch_size):
        raise_if_stopped()
        label_map, body, domain = _to_render(work, jobs[start : start + config.batch_size], known, draw)
        with autocast(work.device, work.config.compute):
            images = render(denoiser, label_map, domain, work.config.diffusion, draw, body=body).float().cpu()
        passing(Landmark.SYNTHESIS)
        for image, rendered_map, index in zip(images, label_map.cpu(), domain.tolist(), strict=True):
            yield Example(image=image, label_map=rendered_map, domain=index)


def _to_render(
    work: Workplace, chosen: list[Example], known: ClassAppearance | None, draw: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Label maps and bodies as scans of other domains show them, and the domains.

    What is known of those domains says how much of the body their scans show; at the source, whose labels are exact,
    it also gives structures sizes between those here and there. Where nothing is known, both are as they are here.
    """
    config = work.config.synthesise
    # a label map larger than a patch is rendered patch by patch: the generator never saw more than one patch
    crops = [draw_batch([one], 1, work.config.grid.patch_size, draw, work.device) for one in chosen]
    domain = torch.tensor([one.domain for one in chosen])
    images, label_map = random_flip(
        [torch.cat([crop.images for crop in crops]), torch.cat([crop.label_map for crop in crops])], draw
    )
    if config.deform:
        resizes = known is not None and config.resize and work.site.role is SiteRole.SOURCE
        ratios = known.volume_ratios(domain) if known is not None and resizes else None
        field = deformation_of(label_map, draw, ratios=ratios)
        images, label_map = deform_image(images, field), deform_label_map(label_map, field)
    body = images > 0
    # in its own look a site shows what its scans show
    if known is not None:
        there = seen_in_domain(body, label_map, known.of(domain), draw)
        elsewhere = (domain != work.domain) & known.is_told[domain]
        body = torch.where(elsewhere.view(-1, 1, 1, 1, 1).to(body.device), there, body)
    return label_map, body, domain.to(work.device)


def _label_map_of(example: Example) -> Tensor:
    return cast("Tensor", example.label_map)
