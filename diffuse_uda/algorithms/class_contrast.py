"""Random contrast between structures: what another MR sequence does, drawn from the label map of the source."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.augmentation import blur
from diffuse_uda.algorithms.randomisation import random_contrast_curve

MEAN_RANGE = (0.05, 0.95)
GAIN_RANGE = (-1.0, 1.0)
EDGE_SIGMA_VOXELS = (0.3, 0.7)
"""Blur after the change: a new contrast drawn on a label map would have edges that no scanner makes."""


def random_class_contrast(
    volumes: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    generator: torch.Generator,
    *,
    num_classes: int,
) -> Float[Tensor, "batch 1 i j k"]:
    """Give every structure its own random mean and gain (domain randomisation: Billot et al. 2023, arXiv:2107.09559).

    A curve of intensities cannot separate two tissues that the source shows alike (grey matter and fluid in T1w); a
    structure-wise draw can. Inside a structure the scan's own texture stays, scaled. What is not labelled goes through
    a random contrast curve, since nobody knows what it is.

    Args:
        volumes: Intensities in [0, 1]; zero is background and stays zero.
        label_map: Exact labels, so only the source can use this.
        generator: CPU generator; results do not depend on the volumes' device.
        num_classes: Classes, background included.

    Returns:
        Volumes in [0, 1], in the input's shape.
    """
    batch = volumes.shape[0]
    means = torch.empty(batch, num_classes).uniform_(*MEAN_RANGE, generator=generator).to(volumes)
    gains = torch.empty(batch, num_classes).uniform_(*GAIN_RANGE, generator=generator).to(volumes)
    sigma = torch.empty(batch).uniform_(*EDGE_SIGMA_VOXELS, generator=generator).to(volumes)
    unlabelled = random_contrast_curve(volumes, generator)

    classes = label_map.long().flatten(1)
    flat = volumes.flatten(1)
    count = torch.zeros_like(means).scatter_add_(1, classes, torch.ones_like(flat)).clamp_min_(1.0)
    old_means = torch.zeros_like(means).scatter_add_(1, classes, flat) / count
    texture = flat - old_means.gather(1, classes)
    redrawn = means.gather(1, classes) + gains.gather(1, classes) * texture
    changed = torch.where(classes > 0, redrawn, unlabelled.flatten(1)).view_as(volumes)
    return blur(changed.clamp(0.0, 1.0), sigma).clamp_(0.0, 1.0) * (volumes > 0)
