"""The augmentation of ASC+ (arXiv:2408.05985): intensity, rotation and scale, random crops; volumes lie in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.structure import (
    DeformationRanges,
    Range,
    deform_image,
    deform_label_map,
    random_deformation,
)
from diffuse_uda.errors import GeometryError
from diffuse_uda.types import Triple

PER_SAMPLE = (-1, 1, 1, 1, 1)
SPATIAL_DIMS = (2, 3, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntensityRanges:
    """What intensity augmentation may do; the defaults are those of ASC+ (the blur's width is ours)."""

    blur_sigma_voxels: Range = (0.25, 0.75)
    brightness: Range = (0.7, 1.3)
    """Factor of all intensities."""
    contrast: Range = (0.7, 1.3)
    """Factor of the difference to the foreground's mean."""
    gamma: Range = (0.7, 1.3)
    """Exponent of the intensities."""
    probability: float = 0.7
    """Chance of each of the four, for every sample."""
    max_operations: int = 3
    """Most of the four that one sample gets; which ones is drawn."""


ASC_PLUS_INTENSITY = IntensityRanges()
ASC_PLUS_GEOMETRY = DeformationRanges(
    rotation_degrees=(-15.0, 15.0), scale=(0.7, 1.0), shift=(0.0, 0.0), elastic=(0.0, 0.0)
)
"""Scale of ASC+; it names no angle, 15 degrees is ours."""


def augment_intensity(
    volumes: Float[Tensor, "batch channel i j k"],
    generator: torch.Generator,
    ranges: IntensityRanges = ASC_PLUS_INTENSITY,
) -> Float[Tensor, "batch channel i j k"]:
    """Blur, then change brightness, contrast and gamma, each or not, at most three of them on one sample.

    Args:
        volumes: Intensities in [0, 1]; zero is background and stays zero.
        generator: CPU generator; results don't depend on the volumes' device.
        ranges: What may be drawn.

    Returns:
        Volumes in [0, 1], in the input's shape.
    """
    batch = volumes.shape[0]
    chosen = _draw_operations(batch, generator, ranges)
    drawn = [
        torch.empty(batch).uniform_(*limits, generator=generator)
        for limits in (ranges.blur_sigma_voxels, ranges.brightness, ranges.contrast, ranges.gamma)
    ]
    # Neutral values instead of branches: every sample takes the same path.
    neutral = torch.tensor([0.0, 1.0, 1.0, 1.0])
    sigma, brightness, contrast, gamma = torch.where(chosen, torch.stack(drawn, dim=1), neutral).to(volumes).unbind(1)

    foreground = volumes > 0
    augmented = (blur(volumes, sigma) if bool(chosen[:, 0].any()) else volumes) * brightness.view(PER_SAMPLE)
    count = foreground.sum(dim=SPATIAL_DIMS, keepdim=True).clamp_min(1)
    mean = (augmented * foreground).sum(dim=SPATIAL_DIMS, keepdim=True) / count
    augmented = torch.lerp(mean, augmented, contrast.view(PER_SAMPLE)).clamp_(0.0, 1.0).pow_(gamma.view(PER_SAMPLE))
    return augmented.mul_(foreground)


def blur(
    volumes: Float[Tensor, "batch channel i j k"], sigma_voxels: Float[Tensor, " batch"]
) -> Float[Tensor, "batch channel i j k"]:
    """Smooth every sample by its own Gaussian; sigma 0 returns the sample, and a constant stays one at the borders."""
    blurred = volumes
    for axis, size in enumerate(volumes.shape[2:]):
        offsets = torch.arange(size, device=volumes.device, dtype=volumes.dtype)
        distance = (offsets[:, None] - offsets) / sigma_voxels.clamp_min(1e-3).view(-1, 1, 1)
        weights = torch.exp(-0.5 * distance.square())
        weights /= weights.sum(dim=-1, keepdim=True)
        blurred = torch.einsum(("nai,ncijk->ncajk", "naj,ncijk->nciak", "nak,ncijk->ncija")[axis], weights, blurred)
    return blurred


def augment_geometry(
    volumes: Float[Tensor, "batch channel i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    generator: torch.Generator,
    ranges: DeformationRanges = ASC_PLUS_GEOMETRY,
) -> tuple[Float[Tensor, "batch channel i j k"], Int[Tensor, "batch 1 i j k"]]:
    """Rotate and scale volumes and their label maps by the same field, drawn for every sample.

    Raises:
        GeometryError: If volumes and label maps have different grids.
    """
    if volumes.shape[2:] != label_map.shape[2:]:
        msg = f"volumes have shape {tuple(volumes.shape)}, label maps {tuple(label_map.shape)}: the grids must be equal"
        raise GeometryError(msg)
    i, j, k = volumes.shape[2:]
    grid = random_deformation(volumes.shape[0], (i, j, k), generator, ranges, device=volumes.device)
    return deform_image(volumes, grid), deform_label_map(label_map, grid)


def random_crop(tensors: Sequence[Tensor], patch_size: Triple, generator: torch.Generator) -> list[Tensor]:
    """Cut a patch at a random place, its own for every sample, the same one out of all tensors.

    Args:
        tensors: Volumes or label maps of shape (batch, channel, i, j, k) on one grid.
        patch_size: Voxels of the patch along i, j and k.
        generator: CPU generator.

    Returns:
        Patches of shape (batch, channel, *patch_size), in the order of the tensors.

    Raises:
        GeometryError: If the tensors differ in batch or grid, or are smaller than the patch.
    """
    batch, grid = tensors[0].shape[0], tuple(tensors[0].shape[2:])
    if any((tensor.shape[0], tuple(tensor.shape[2:])) != (batch, grid) for tensor in tensors):
        msg = f"tensors to crop alike must share batch and grid, got {[tuple(tensor.shape) for tensor in tensors]}"
        raise GeometryError(msg)
    room = torch.tensor(grid) - torch.tensor(patch_size)
    if bool((room < 0).any()):
        msg = f"patch_size {patch_size} is larger than the volumes {grid}: pad them first, or take smaller patches"
        raise GeometryError(msg)
    starts = (torch.rand((batch, 3), generator=generator) * (room + 1)).long().minimum(room).tolist()
    return [torch.stack([_crop(tensor[n], starts[n], patch_size) for n in range(batch)]) for tensor in tensors]


def _crop(sample: Tensor, start: Sequence[int], patch_size: Triple) -> Tensor:
    """Take the patch that begins at `start`, a view."""
    for dim, (first, size) in enumerate(zip(start, patch_size, strict=True), start=1):
        sample = sample.narrow(dim, first, size)
    return sample


def _draw_operations(batch: int, generator: torch.Generator, ranges: IntensityRanges) -> Tensor:
    """Choose for every sample which of the four operations it gets: Bool of shape (batch, 4)."""
    draws = torch.rand((batch, 4), generator=generator)
    wanted = draws < ranges.probability
    # Among the wanted ones the draws are uniform, thus their ranks a fair way to leave some out.
    return wanted & (draws.argsort(dim=1).argsort(dim=1) < ranges.max_operations)
