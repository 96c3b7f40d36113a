"""What scanners and their pipelines do to any contrast: coil shading, noise, another field of view, another window."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from diffuse_uda.algorithms.augmentation import blur

PER_SAMPLE = (-1, 1, 1, 1, 1)
SPATIAL_DIMS = (2, 3, 4)
SMALLEST_STD = 1e-3
BIAS_KNOTS = 3
"""Values of the logarithmic bias field along every axis; coils shade slowly."""
WINDOW_STDS = 2.0
NEARNESS_WIDTH = 0.05
"""Gaussian that measures how near the labelled structures are, as a share of the shortest side."""
RAGGEDNESS = 0.1
"""Standard deviation of the noise in that measure, which is 0.5 at a flat border; smooth over half the width."""

Foreground = Bool[Tensor, "batch 1 i j k"]


def random_bias_field(
    volumes: Float[Tensor, "batch channel i j k"], generator: torch.Generator, *, largest_strength: float
) -> Float[Tensor, "batch channel i j k"]:
    """Multiply every volume by its own smooth field, as a receive coil does.

    The logarithm of the field is interpolated between 3^3 normal values; its standard deviation is U(0, largest).

    Args:
        volumes: Intensities, not negative.
        generator: CPU generator; results don't depend on the volumes' device.
        largest_strength: Upper end of the drawn standard deviations, >= 0; 0 returns the input.

    Returns:
        Volumes in the input's shape, not confined to [0, 1].
    """
    batch = volumes.shape[0]
    strength = torch.rand(batch, generator=generator).view(PER_SAMPLE) * largest_strength
    knots = torch.randn((batch, 1, BIAS_KNOTS, BIAS_KNOTS, BIAS_KNOTS), generator=generator) * strength
    field = F.interpolate(knots.to(volumes), size=volumes.shape[2:], mode="trilinear", align_corners=True)
    return volumes * field.exp()


def random_noise(
    volumes: Float[Tensor, "batch channel i j k"], generator: torch.Generator, *, largest_std: float
) -> Float[Tensor, "batch channel i j k"]:
    """Add white Gaussian noise with a standard deviation of U(0, largest) to every volume.

    Args:
        volumes: Intensities.
        generator: CPU generator; results don't depend on the volumes' device.
        largest_std: Upper end of the drawn standard deviations, >= 0; 0 returns the input.
    """
    std = torch.rand(volumes.shape[0], generator=generator).view(PER_SAMPLE) * largest_std
    return volumes + (torch.randn(volumes.shape, generator=generator) * std).to(volumes)


def random_field_of_view(
    label_map: Int[Tensor, "batch 1 i j k"],
    foreground: Foreground,
    generator: torch.Generator,
    *,
    probability: float,
    largest_margin: int = 2,
) -> Foreground:
    """Erase what lies further from the labelled structures than a random margin: skull stripping, tight masks.

    Folds between structures are closed first, so that what they enclose stays.

    Args:
        label_map: Exact labels, so only the source can use this.
        foreground: Voxels of the body.
        generator: CPU generator; results don't depend on the device.
        probability: Chance that a sample loses its surroundings.
        largest_margin: Most voxels that are kept around the structures, >= 0.

    Returns:
        The remaining foreground.
    """
    batch = label_map.shape[0]
    erased = (torch.rand(batch, generator=generator) < probability).view(PER_SAMPLE).to(foreground.device)
    margins = torch.randint(largest_margin + 1, (batch,), generator=generator).view(PER_SAMPLE).to(foreground.device)
    kept = -F.max_pool3d(-F.max_pool3d((label_map > 0).float(), 3, 1, 1), 3, 1, 1)
    near = kept.clone()
    for margin in range(1, largest_margin + 1):
        kept = F.max_pool3d(kept, 3, 1, 1)
        near = torch.where(margins >= margin, kept, near)
    return foreground & ((near > 0) | ~erased)


def field_of_view_around(
    label_map: Int[Tensor, "batch 1 i j k"],
    foreground: Foreground,
    wanted: Float[Tensor, " batch"],
    generator: torch.Generator,
) -> Foreground:
    """Keep only as much around the labelled structures as another site's scans show, the nearest voxels first.

    What a skull-stripped scan lacks tells a network where the brain ends. The border is ragged, as a mask's is.

    Args:
        label_map: Exact labels, so only the source can use this.
        foreground: Voxels of the body.
        wanted: Unlabelled voxels to keep for each labelled one, >= 0.
        generator: CPU generator; results don't depend on the device.

    Returns:
        The remaining foreground; all of it where there is less than wanted.
    """
    labelled = label_map > 0
    width = min(label_map.shape[2:]) * NEARNESS_WIDTH
    widths = torch.full((label_map.shape[0],), width, device=foreground.device)
    noise = torch.randn(label_map.shape, generator=generator).to(foreground.device)
    # A Gaussian falls with the distance from what it blurs, and closes folds; no distance transform is needed.
    nearness = blur(labelled.float(), widths) + RAGGEDNESS * blur(noise, widths / 2) * width**1.5
    kept = torch.zeros_like(foreground)
    for sample, (inside, near) in enumerate(zip(foreground & ~labelled, nearness, strict=True)):
        num_kept = int(wanted[sample] * labelled[sample].sum())
        values = near[inside].sort(descending=True).values
        kept[sample] = inside & (near >= values[num_kept - 1]) if 0 < num_kept < values.numel() else inside
        if num_kept == 0:
            kept[sample] = False
    return foreground & (kept | labelled)


def window_to_foreground(
    volumes: Float[Tensor, "batch channel i j k"], foreground: Foreground
) -> Float[Tensor, "batch channel i j k"]:
    """Map the window mean +/- 2 std of the foreground to [0, 1], as the normalisation of every scan does (ASC+).

    A contrast that was drawn at random would else be dark or bright as no normalised scan can be.

    Args:
        volumes: Intensities on any scale.
        foreground: Voxels of the body; the others become 0.
    """
    count = foreground.sum(dim=SPATIAL_DIMS, keepdim=True).clamp_min(1)
    mean = (volumes * foreground).sum(dim=SPATIAL_DIMS, keepdim=True) / count
    variance = ((volumes - mean) * foreground).square().sum(dim=SPATIAL_DIMS, keepdim=True) / count
    window = 2.0 * WINDOW_STDS * variance.sqrt().clamp_min(SMALLEST_STD)
    return ((volumes - mean) / window + 0.5).clamp_(0.0, 1.0) * foreground
