"""Another domain's look for a volume: what the style provider of the study can give at this site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.appearance import (
    align_appearance,
    block_half_width,
    crop_style_block,
    draw_window,
    half_width,
    histogram_distance,
    style_block,
)
from diffuse_uda.algorithms.class_contrast import random_class_contrast
from diffuse_uda.algorithms.randomisation import random_amplitude, random_contrast_curve, random_convolution

AMPLITUDE_STRENGTH = 0.3
"""Standard deviation of the logarithm of random amplitudes: about +/- 30 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One foreign look: published or mined amplitudes, with an image where one exists at this site."""

    block: Float[Tensor, "1 1 a b c"]
    image: Float[Tensor, "1 i j k"] | None = None
    """A synthetic image of the other domain, for the histogram distance of ASC+; None for a published block."""


def randomised(
    volumes: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    generator: torch.Generator,
    *,
    num_classes: int,
    plain_share: float = 0.0,
) -> Float[Tensor, "batch 1 i j k"]:
    """A look nobody has: needs nothing from any other site (the style provider `none`).

    Every sample gets a random contrast curve or, as often, a random contrast between its structures; half of them a
    random convolution as well. Mostly 1^3 kernels: on a grid of millimetres a 3^3 kernel turns thin structures to
    edges. A share of the samples stays as it is, so that the source's own look is not forgotten.
    """
    draws = torch.rand(3, volumes.shape[0], generator=generator).view(3, -1, 1, 1, 1, 1).to(volumes.device)
    curves = random_contrast_curve(volumes, generator, monotone_probability=0.75)
    by_class = random_class_contrast(volumes, label_map, generator, num_classes=num_classes)
    contrasted = torch.where(draws[0] < 0.5, curves, by_class)
    convolved = random_convolution(contrasted, generator, alpha_range=(0.0, 0.7), kernel_sizes=(1, 1, 1, 3))
    changed = torch.where(draws[1] < 0.5, contrasted, convolved)
    return torch.where(draws[2] < plain_share, volumes, changed)


def perturbed(
    volumes: Float[Tensor, "batch 1 i j k"], generator: torch.Generator, window: float
) -> Float[Tensor, "batch 1 i j k"]:
    """A slightly different scanner: random low-frequency amplitudes, for consistency without a foreign look."""
    i, j, k = volumes.shape[2:]
    changed = random_amplitude(
        volumes, generator, half_width=half_width((i, j, k), window), strength=AMPLITUDE_STRENGTH
    )
    return _kept_in_range(changed, volumes)


def aligned(
    volumes: Float[Tensor, "batch 1 i j k"],
    looks: Sequence[Look],
    generator: torch.Generator,
    *,
    window: float,
    adaptive_window: bool,
) -> Float[Tensor, "batch 1 i j k"]:
    """Fourier appearance alignment of every sample to a look drawn from `looks` (ASC; adaptive window: ASC+).

    Args:
        volumes: Intensities in [0, 1].
        looks: At least one foreign look.
        generator: CPU generator.
        window: FDA window L where it is not adapted.
        adaptive_window: Whether L follows the distance of the histograms and a random factor in [0.5, 1.5].
    """
    samples = []
    for sample in volumes.chunk(volumes.shape[0]):
        look = looks[int(torch.randint(len(looks), (), generator=generator))]
        share = window
        if adaptive_window:
            distance = 0.0 if look.image is None else histogram_distance(sample, look.image[None].to(sample))
            share = draw_window(distance, generator)
        i, j, k = sample.shape[2:]
        width = min(half_width((i, j, k), share), block_half_width(look.block))
        samples.append(align_appearance(sample, crop_style_block(look.block.to(sample), width)))
    return _kept_in_range(torch.cat(samples), volumes)


def look_of(image: Float[Tensor, "1 i j k"], largest_half_width: int) -> Look:
    """The look of one image that is at this site."""
    return Look(block=style_block(image[None], largest_half_width), image=image)


def _kept_in_range(changed: Tensor, original: Tensor) -> Tensor:
    """Amplitudes change the background too; it stays what normalisation made it, exact zero."""
    return changed.clamp(0.0, 1.0) * (original > 0)
