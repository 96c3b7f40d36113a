"""What a site learns from, and the batches of one step."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from client.cases import examples_of, training_cases
from client.workplace import Workplace
from diffuse_uda.algorithms.structure import deform_image, deform_label_map, random_deformation, random_flip
from diffuse_uda.algorithms.structure_size import displaced, random_sizes
from diffuse_uda.training.batches import Batch, Example, draw_batch
from diffuse_uda.types import SiteRole


def training_examples(work: Workplace) -> list[Example]:
    """The site's own scans as a supervised or a target's task takes them: those with exact labels, or without any."""
    wanted = work.site.role is SiteRole.SOURCE
    return [example for example in _all_examples(work) if (example.label_map is not None) is wanted]


def unlabelled_examples(work: Workplace) -> list[Example]:
    """The site's scans without a label map: all of a target's, some of a source's or none."""
    return [example for example in _all_examples(work) if example.label_map is None]


def labelled_examples(work: Workplace) -> list[Example]:
    """Scans with exact label maps at the source; and, once scans were labelled, those with pseudo-labels."""
    exact = training_examples(work) if work.site.role is SiteRole.SOURCE else []
    return exact + work.state.load_examples("pseudo-labelled")


def _all_examples(work: Workplace) -> list[Example]:
    cases = training_cases(work.site, work.config.grid, work.state, work.config.source)
    return examples_of(cases, work.domain)


def labelled_batch(
    work: Workplace,
    examples: list[Example],
    size: int,
    draw: torch.Generator,
    *,
    ratios: Float[Tensor, "batch klass"] | None = None,
) -> Batch:
    """Draw a batch, flip and deform images, label maps and weights by the same field.

    Args:
        work: The site's place of work.
        examples: Scans or rendered pairs with label maps.
        size: Wanted examples.
        draw: CPU generator.
        ratios: Volume of every class elsewhere in units of its volume here: structures change their size as well.
    """
    batch = flipped_batch(work, examples, size, draw)
    field = deformation_of(batch.label_map, draw, ratios=ratios)
    return dataclasses.replace(
        batch,
        images=deform_image(batch.images, field),
        label_map=deform_label_map(batch.label_map, field),
        voxel_weight=deform_image(batch.voxel_weight, field),
    )


def deformation_of(
    label_map: Int[Tensor, "batch 1 i j k"],
    draw: torch.Generator,
    *,
    ratios: Float[Tensor, "batch klass"] | None = None,
) -> Float[Tensor, "batch i j k 3"]:
    """Sampling grid of a random deformation; with `ratios` structures take other sizes on the way."""
    batch_size, _, i, j, k = label_map.shape
    field = random_deformation(batch_size, (i, j, k), draw, device=label_map.device)
    return field if ratios is None else displaced(random_sizes(label_map, ratios, draw), field)


def flipped_batch(work: Workplace, examples: list[Example], size: int, draw: torch.Generator) -> Batch:
    """Draw a batch of patches, and mirror each example as the coin falls."""
    batch = draw_batch(examples, size, work.config.grid.patch_size, draw, work.device)
    images, label_map, weight = random_flip([batch.images, batch.label_map, batch.voxel_weight], draw)
    return dataclasses.replace(batch, images=images, label_map=label_map, voxel_weight=weight)
