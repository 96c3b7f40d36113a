"""Another domain's contrast for a labelled scan, from a few numbers that describe what its structures look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
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
    volumes: Float[Tensor, "*domain klass"]
    """Voxels of every class for each voxel of any structure; the first one counts the unlabelled part of the body."""

    def of(self, domains: Int[Tensor, " sample"] | slice) -> ClassAppearance:
        """Rows of some domains, one a sample; a domain may be there several times."""
        return ClassAppearance(
            means=self.means[domains],
            spreads=self.spreads[domains],
            background=self.background[domains],
            volumes=self.volumes[domains],
        )

    @property
    def is_told(self) -> Bool[Tensor, " *domain"]:
        """Whether anything is known of a domain: one that has told something has volumes.

        A site over too few cases keeps its numbers to itself, one whose scans show no structure has none.
        """
        return self.volumes.any(dim=-1)

    def volume_ratios(self, domains: Int[Tensor, " sample"]) -> Float[Tensor, "sample klass"]:
        """Volume of every class in some domains in units of its volume in the first; 0 where either has none."""
        return torch.nan_to_num(self.volumes[domains] / self.volumes[:1], nan=0.0, posinf=0.0)

    def drawn(self, num_samples: int, generator: torch.Generator) -> ClassAppearance:
        """One row a sample, each drawn at random."""
        return self.of(torch.randint(self.means.shape[0], (num_samples,), generator=generator))


def measure_appearance(
    intensities: Float[Tensor, " voxel"],
    classes: Int[Tensor, " voxel"],
    *,
    num_classes: int,
    trusted: Bool[Tensor, " voxel"] | None = None,
) -> ClassAppearance:
    """Describe the classes of one domain robustly: medians forgive the share of a structure that is labelled wrongly.

    Args:
        intensities: Voxels of all scans of a site, in [0, 1]; zero is air.
        classes: Their labels or pseudo-labels.
        num_classes: Classes, background included.
        trusted: Voxels whose label is sure enough to tell what its class looks like; all when absent. Volumes count
            the others as well: doubt sits at borders, and a structure does not end where it begins to be doubtful.

    Returns:
        One row. A class without voxels gets the median and spread of all structures; no background gives a flat one.
        Without any structure all volumes are 0.
    """
    counted = torch.bincount(classes[intensities > 0].long().cpu(), minlength=num_classes).float()
    volumes = counted / counted[1:].sum().clamp_min(1.0)
    if trusted is not None:
        intensities, classes = intensities[trusted], classes[trusted]
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
        volumes=volumes if volumes[1:].any() else torch.zeros(num_classes),
    )


def in_domain_contrast(
    volumes: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    known: ClassAppearance,
    generator: torch.Generator,
) -> Float[Tensor, "batch 1 i j k"]:
    """Show labelled scans in the contrast of a known domain; the anatomy, hence the labels, stay exact.

    Every structure moves to the domain's mean with soft borders; its own texture is scaled to the domain's spread, with
    a random sign, since nobody knows which way it goes there. What is not labelled takes the domain's histogram, in its
    own order of intensities or in the reverse: the more the structures' means agree, the more often in its own.

    Args:
        volumes: Intensities in [0, 1]; zero is air and stays zero.
        label_map: Exact labels.
        known: What the classes look like elsewhere, one row a sample.
        generator: CPU generator; results do not depend on the volumes' device.

    Returns:
        Intensities >= 0, in the input's shape; some lie above 1, as before a normalisation.
    """
    batch, num_classes = known.means.shape
    means = (known.means + JITTER_STD * torch.randn((batch, num_classes), generator=generator)).to(volumes)
    sigma = torch.empty(batch).uniform_(*EDGE_SIGMA_VOXELS, generator=generator).to(volumes)
    one_hot = F.one_hot(label_map[:, 0].long(), num_classes).movedim(-1, 1).to(volumes)
    soft = blur(one_hot, sigma)
    soft = soft / soft.sum(dim=1, keepdim=True).clamp_min(1e-6)
    own_means, own_stds = _moments(volumes, one_hot)
    texture = _texture(volumes, one_hot, own_means, known.spreads.to(volumes) / own_stds, generator)
    is_reversed = torch.rand(batch, generator=generator) < (1.0 - _agreement(own_means, means).cpu()) / 2
    surroundings = _surroundings(volumes, label_map, known.background, is_reversed)
    painted = torch.einsum("nc,ncijk->nijk", means[:, 1:], soft[:, 1:])[:, None] + soft[:, :1] * surroundings
    return (painted + texture).clamp_min(0.0) * (volumes > 0)


def _moments(volumes: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every class of every sample."""
    count = one_hot.sum(dim=(2, 3, 4)).clamp_min(1.0)
    means = torch.einsum("ncijk,nijk->nc", one_hot, volumes[:, 0]) / count
    squares = torch.einsum("ncijk,nijk->nc", one_hot, volumes[:, 0].square()) / count
    return means, (squares - means.square()).clamp_min(0.0).sqrt().clamp_min(SMALLEST_STD)


def _agreement(means: Float[Tensor, "batch klass"], others: Float[Tensor, "batch klass"]) -> Float[Tensor, " batch"]:
    """Correlation of the structures' means in two contrasts, in [-1, 1]; 0 where either is flat."""
    here, there = (part[:, 1:] - part[:, 1:].mean(dim=1, keepdim=True) for part in (means, others))
    return F.cosine_similarity(here, there)


def _texture(
    volumes: Tensor,
    one_hot: Tensor,
    means: Float[Tensor, "batch klass"],
    widening: Float[Tensor, "batch klass"],
    generator: torch.Generator,
) -> Tensor:
    """What a scan's structures have beside their mean, wider or narrower, some of it turned round."""
    batch, num_classes = means.shape
    gains = torch.empty(batch, 1).uniform_(*TEXTURE_GAIN_RANGE, generator=generator)
    signs = torch.randint(2, (batch, num_classes), generator=generator) * 2.0 - 1.0
    scale = (gains * signs).to(volumes) * widening
    scale[:, 0] = 0.0
    # sum over classes of scale * (value - mean), with the one class that a voxel has
    slope = torch.einsum("nc,ncijk->nijk", scale, one_hot)
    offset = torch.einsum("nc,ncijk->nijk", scale * means, one_hot)
    return (slope * volumes[:, 0] - offset)[:, None]


def _surroundings(
    volumes: Tensor,
    label_map: Tensor,
    quantiles: Float[Tensor, "batch quantile"],
    is_reversed: Bool[Tensor, " batch"],
) -> Tensor:
    """Unlabelled voxels of the body with the histogram of the domain, in the scan's order or the reverse."""
    painted = torch.zeros_like(volumes)
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
