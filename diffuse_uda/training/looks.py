"""Another domain's look for a volume: what the style provider of the study can give at this site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
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
from diffuse_uda.algorithms.domain_contrast import ClassAppearance, in_domain_contrast
from diffuse_uda.algorithms.randomisation import random_amplitude, random_contrast_curve, random_convolution
from diffuse_uda.algorithms.scanner_effects import (
    PER_SAMPLE,
    field_of_view_around,
    random_bias_field,
    random_field_of_view,
    random_noise,
    window_to_foreground,
)

AMPLITUDE_STRENGTH = 0.3
"""Standard deviation of the logarithm of random amplitudes: about +/- 30 %."""

CURVE_SHARE = 0.4
"""Share of the random looks that a curve of intensities makes; the others draw every structure's mean."""
CONVOLUTION_SHARE = 0.4
FIELD_OF_VIEW_SHARE = 0.4
SCANNER_SHARE = 0.7
"""Share of the random looks with coil shading, and with noise."""
LARGEST_BIAS = 0.5
"""Standard deviation of the logarithm of the shading."""
LARGEST_NOISE = 0.12
"""Standard deviation in intensities of [0, 1]."""
SURROUNDINGS_RANGE = (0.6, 1.1)
"""Share of the surroundings a site estimates that is shown: doubtful borders make pseudo-labelled structures small."""
RENDERED_BIAS = 0.3
RENDERED_NOISE = 0.1


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

    Every sample gets a random contrast between its structures or, less often, a random contrast curve; some a random
    convolution as well. Mostly 1^3 kernels: on a grid of millimetres a 3^3 kernel turns thin structures to edges. Then
    comes what any scanner and its pipeline may do. A share of the samples stays as it is, so that the source's own
    look is not forgotten.
    """
    draws = torch.rand(3, volumes.shape[0], generator=generator).view(3, *PER_SAMPLE).to(volumes.device)
    curves = random_contrast_curve(volumes, generator, monotone_probability=0.6)
    by_class = random_class_contrast(volumes, label_map, generator, num_classes=num_classes)
    contrasted = torch.where(draws[0] < CURVE_SHARE, curves, by_class)
    convolved = random_convolution(contrasted, generator, alpha_range=(0.0, 0.7), kernel_sizes=(1, 1, 1, 3))
    changed = torch.where(draws[1] < CONVOLUTION_SHARE, convolved, contrasted)
    seen = random_field_of_view(label_map, volumes > 0, generator, probability=FIELD_OF_VIEW_SHARE)
    return torch.where(draws[2] < plain_share, volumes, _scanned(changed, seen, generator))


def in_known_contrast(
    volumes: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    known: ClassAppearance,
    generator: torch.Generator,
) -> Float[Tensor, "batch 1 i j k"]:
    """Labelled scans in the contrast that the generator's class table holds of other domains, as if scanned there.

    Args:
        volumes: Intensities in [0, 1].
        label_map: Exact labels.
        known: Rows of the class table; every sample draws one of them.
        generator: CPU generator.
    """
    there = known.drawn(volumes.shape[0], generator)
    seen = seen_in_domain(volumes > 0, label_map, there, generator)
    # what is not seen there has no place in its histogram: with the skull in it, fluid would take a muscle's intensity
    changed = in_domain_contrast(volumes * seen, label_map, there, generator)
    return _scanned(changed, seen, generator)


def seen_in_domain(
    body: Bool[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    known: ClassAppearance,
    generator: torch.Generator,
) -> Bool[Tensor, "batch 1 i j k"]:
    """What of a labelled body scans of other domains show: as much around the structures as they have, or less.

    Args:
        body: What the own scans show.
        label_map: Exact labels; pseudo-labels do where a target mines looks.
        known: What the classes look like elsewhere, one row a sample.
        generator: CPU generator.
    """
    share = torch.empty(body.shape[0]).uniform_(*SURROUNDINGS_RANGE, generator=generator)
    return field_of_view_around(label_map, body, known.volumes[:, 0] * share, generator)


def rescanned(volumes: Float[Tensor, "batch 1 i j k"], generator: torch.Generator) -> Float[Tensor, "batch 1 i j k"]:
    """Rendered images with shading and noise: a generator that predicts clean images leaves both out."""
    shaded = random_bias_field(volumes, generator, largest_strength=RENDERED_BIAS)
    return _kept_in_range(random_noise(shaded, generator, largest_std=RENDERED_NOISE), volumes)


def _scanned(changed: Tensor, seen: Tensor, generator: torch.Generator) -> Tensor:
    """What any scanner and its pipeline may do to what is seen: shading, the normalisation's window, noise."""
    draws = torch.rand(2, changed.shape[0], generator=generator).view(2, *PER_SAMPLE).to(changed.device)
    shaded = random_bias_field(changed, generator, largest_strength=LARGEST_BIAS)
    windowed = window_to_foreground(torch.where(draws[0] < SCANNER_SHARE, shaded, changed), seen)
    noisy = random_noise(windowed, generator, largest_std=LARGEST_NOISE)
    return torch.where(draws[1] < SCANNER_SHARE, noisy, windowed).clamp(0.0, 1.0) * seen


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
