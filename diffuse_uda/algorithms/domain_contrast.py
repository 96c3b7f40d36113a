"""Another domain's contrast for a labelled scan, from a few numbers that describe what its structures look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from diffuse_uda.algorithms.augmentation import blur

NUM_QUANTILES = 17
"""Values that describe the histogram of what is not labelled, from its lowest to its highest."""

JITTER_STD = 0.06
"""Of the drawn class means, in intensities of [0, 1]: scans of one scanner differ, and the numbers are estimates."""

TEXTURE_GAIN_RANGE = (0.3, 1.0)
EDGE_SIGMA_VOXELS = (0.3, 0.6)
"""Blur of the label map: partial volume, which a contrast drawn on a label map would lack."""

SMALLEST_STD = 0.02
_ONE_SIGMA = (0.16, 0.84)
_FALLBACK = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassAppearance:
    """What the classes of one or more domains look like, in intensities of [0, 1]."""

    means: Float[Tensor, "*domain klass"]
    """Median of every class."""
    spreads: Float[Tensor, "*domain klass"]
    """Half of the range that holds the middle 68 % of a class."""
    background: Float[Tensor, "*domain quantile"]
    """Evenly spaced quantiles of the unlabelled part of the body, from minimum to maximum."""


def measure_appearance(
    intensities: Float[Tensor, " voxel"], classes: Int[Tensor, " voxel"], *, num_classes: int
) -> ClassAppearance:
    """Describe the classes of one domain robustly: medians forgive the share of a structure that is labelled wrongly.

    Args:
        intensities: Voxels of all scans of a site, in [0, 1]; zero is air.
        classes: Their labels or pseudo-labels.
        num_classes: Classes, background included.

    Returns:
        One row. A class without voxels gets the median and spread of all structures; no background gives a flat one.
    """
    values, labels = intensities.float().cpu().numpy(), classes.cpu().numpy()
    overall = values[labels > 0]
    by_class = [values[labels == klass] for klass in range(num_classes)]
    chosen = [part if part.size else overall for part in by_class]
    low, middle, high = (
        [float(np.quantile(part, share)) if part.size else _FALLBACK for part in chosen]
        for share in (_ONE_SIGMA[0], 0.5, _ONE_SIGMA[1])
    )
    body = by_class[0][by_class[0] > 0]
    levels = np.linspace(0.0, 1.0, NUM_QUANTILES)
    background = np.quantile(body, levels) if body.size else np.full(NUM_QUANTILES, _FALLBACK)
    return ClassAppearance(
        means=torch.tensor(middle),
        spreads=(torch.tensor(high) - torch.tensor(low)) / 2,
        background=torch.from_numpy(background).float(),
    )


def in_domain_contrast(
    volumes: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    known: ClassAppearance,
    generator: torch.Generator,
) -> Float[Tensor, "batch 1 i j k"]:
    """Show labelled scans in the contrast of a known domain; the anatomy, hence the labels, stay exact.

    Every structure moves to the domain's mean with soft borders; its own texture is scaled to the domain's spread, with
    a random sign, since nobody knows which way it goes there. What is not labelled keeps its order of intensities,
    or has it reversed, and takes the domain's histogram.

    Args:
        volumes: Intensities in [0, 1]; zero is air and stays zero.
        label_map: Exact labels.
        known: What the classes look like elsewhere, one row a domain; every sample draws one of them.
        generator: CPU generator; results do not depend on the volumes' device.

    Returns:
        Intensities >= 0, in the input's shape; some lie above 1, as before a normalisation.
    """
    batch, num_classes = volumes.shape[0], known.means.shape[1]
    chosen = torch.randint(known.means.shape[0], (batch,), generator=generator)
    means = (known.means[chosen] + JITTER_STD * torch.randn((batch, num_classes), generator=generator)).to(volumes)
    sigma = torch.empty(batch).uniform_(*EDGE_SIGMA_VOXELS, generator=generator).to(volumes)
    one_hot = F.one_hot(label_map[:, 0].long(), num_classes).movedim(-1, 1).to(volumes)
    soft = blur(one_hot, sigma)
    soft = soft / soft.sum(dim=1, keepdim=True).clamp_min(1e-6)
    texture = _texture(volumes, one_hot, known.spreads[chosen].to(volumes), generator)
    surroundings = _surroundings(volumes, label_map, known.background[chosen], generator)
    painted = torch.einsum("nc,ncijk->nijk", means[:, 1:], soft[:, 1:])[:, None] + soft[:, :1] * surroundings
    return (painted + texture).clamp_min(0.0) * (volumes > 0)


def _texture(
    volumes: Tensor, one_hot: Tensor, spreads: Float[Tensor, "batch klass"], generator: torch.Generator
) -> Tensor:
    """What a scan's structures have beside their mean, standardised and scaled to the wanted spreads."""
    batch, num_classes = spreads.shape
    gains = torch.empty(batch, 1).uniform_(*TEXTURE_GAIN_RANGE, generator=generator)
    signs = torch.randint(2, (batch, num_classes), generator=generator) * 2.0 - 1.0
    count = one_hot.sum(dim=(2, 3, 4)).clamp_min(1.0)
    mean = torch.einsum("ncijk,nijk->nc", one_hot, volumes[:, 0]) / count
    square = torch.einsum("ncijk,nijk->nc", one_hot, volumes[:, 0].square()) / count
    std = (square - mean.square()).clamp_min(0.0).sqrt().clamp_min(SMALLEST_STD)
    scale = (gains * signs).to(volumes) * spreads / std
    scale[:, 0] = 0.0
    # sum over classes of scale * (value - mean), with the one class that a voxel has
    slope = torch.einsum("nc,ncijk->nijk", scale, one_hot)
    offset = torch.einsum("nc,ncijk->nijk", scale * mean, one_hot)
    return (slope * volumes[:, 0] - offset)[:, None]


def _surroundings(
    volumes: Tensor, label_map: Tensor, quantiles: Float[Tensor, "batch quantile"], generator: torch.Generator
) -> Tensor:
    """Unlabelled voxels of the body with the histogram of the domain, in the scan's order or the reverse."""
    painted = torch.zeros_like(volumes)
    is_reversed = torch.rand(volumes.shape[0], generator=generator) < 0.5
    unlabelled = (label_map == 0) & (volumes > 0)
    levels = np.linspace(0.0, 1.0, quantiles.shape[1])
    for sample, inside, wanted, turned, canvas in zip(
        volumes, unlabelled, quantiles, is_reversed.tolist(), painted, strict=True
    ):
        values = sample[inside]
        rank = values.argsort().argsort().to(torch.float32) / max(1, values.numel() - 1)
        level = (1.0 - rank if turned else rank).cpu().numpy()
        canvas[inside] = torch.from_numpy(np.interp(level, levels, wanted.numpy())).to(volumes)
    return painted
