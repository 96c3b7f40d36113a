"""From a site's cases to the batches of one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.augmentation import random_crop
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.types import Triple


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One image with its label map, exact or pseudo, and how much each voxel of the label map is worth."""

    image: Float[Tensor, "1 i j k"]
    """Intensities in [0, 1]."""
    label_map: Int[Tensor, "1 i j k"] | None = None
    voxel_weight: Float[Tensor, "1 i j k"] | None = None
    """In [0, 1]; None counts every voxel fully."""
    domain: int = 0
    """Index of the site whose look the image has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Examples of one step, cropped to one size, on the device of the work."""

    images: Float[Tensor, "batch 1 i j k"]
    label_map: Int[Tensor, "batch 1 i j k"]
    """All zero where the examples have none."""
    voxel_weight: Float[Tensor, "batch 1 i j k"]
    domains: Int[Tensor, " batch"]


def draw_batch(
    examples: Sequence[Example],
    batch_size: int,
    patch_size: Triple,
    generator: torch.Generator,
    device: torch.device,
) -> Batch:
    """Draw examples without replacement (with it only when there are too few), and crop each at random.

    Args:
        examples: At least one; every image has at least `patch_size` voxels along each axis.
        batch_size: Examples to draw.
        patch_size: Voxels of a crop along i, j and k.
        generator: CPU generator.
        device: Where the batch is needed.

    Raises:
        SiteTaskError: If there are no examples.
    """
    if not examples:
        msg = "there is no example to draw a batch from"
        raise SiteTaskError(msg)
    order: list[int] = []
    while len(order) < batch_size:
        order += torch.randperm(len(examples), generator=generator).tolist()
    crops = [_cropped(examples[index], patch_size, generator) for index in order[:batch_size]]
    images, label_maps, weights = (torch.cat(parts).to(device) for parts in zip(*crops, strict=True))
    domains = torch.tensor([examples[index].domain for index in order[:batch_size]], device=device)
    return Batch(images=images, label_map=label_maps, voxel_weight=weights, domains=domains)


def _cropped(example: Example, patch_size: Triple, generator: torch.Generator) -> list[Tensor]:
    image = example.image[None]
    label_map = torch.zeros_like(image, dtype=torch.uint8) if example.label_map is None else example.label_map[None]
    weight = torch.ones_like(image) if example.voxel_weight is None else example.voxel_weight[None]
    # uint8 while it is moved about: an int64 label map is eight times the memory of the scan's own
    tensors = [image, label_map.to(torch.uint8), weight]
    return tensors if tuple(image.shape[2:]) == patch_size else random_crop(tensors, patch_size, generator)
