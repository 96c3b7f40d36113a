"""Random appearances that a site can make alone, without knowing how any other site's scans look."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from diffuse_uda.algorithms.appearance import align_appearance, style_block

LEAK = 0.2
"""Slope of the leaky ReLU below zero: low enough to bend contrast, high enough to keep it."""
SMALLEST_STD = 1e-6
PER_SAMPLE = (-1, 1, 1, 1, 1)


def random_convolution(
    volumes: Float[Tensor, "batch channel i j k"],
    generator: torch.Generator,
    *,
    num_layers: int = 4,
    num_hidden: int = 2,
    kernel_sizes: Sequence[int] = (1, 3),
    alpha_range: tuple[float, float] = (0.0, 1.0),
    foreground: Bool[Tensor, "batch channel i j k"] | None = None,
) -> Float[Tensor, "batch channel i j k"]:
    """Pass every volume through its own random shallow network: GIN (Ouyang et al. 2022, arXiv:2111.12525, sec. III-B).

    The network works on the standardised foreground; its output is mixed as alpha * output + (1 - alpha) * input. The
    result gets back the input's foreground mean and standard deviation, which keeps the energy (Frobenius norm) and
    is what the normalisation of ASC+ does to a scan of another sequence. Then it is clipped to [0, 1].

    Args:
        volumes: Intensities in [0, 1].
        generator: CPU generator; results don't depend on the volumes' device.
        num_layers: Convolutions, with leaky ReLUs between them.
        num_hidden: Channels between the layers, for every sample.
        kernel_sizes: Odd kernel sizes; each layer draws one of them, so repeat a size to favour it: large kernels act
            as edge filters, which is harsh on coarse grids.
        alpha_range: Range of the mixing weight, drawn for every sample; (0, 0) returns the input.
        foreground: Voxels to change, broadcastable to the volumes; by default those above zero. The others keep
            their value.

    Returns:
        Volumes in [0, 1], in the input's shape.

    Raises:
        ValueError: If a kernel size is even: the result would lie between the voxels.
    """
    if any(size % 2 == 0 for size in kernel_sizes):
        msg = f"kernel_sizes must be odd, got {tuple(kernel_sizes)}"
        raise ValueError(msg)
    keep = volumes > 0 if foreground is None else foreground.expand_as(volumes)
    batch, num_channels = volumes.shape[:2]
    mean, std = _foreground_moments(volumes, keep)
    standardised = (volumes - mean).div_(std).mul_(keep)
    # Samples become groups of one convolution: each has weights of its own, and there is no loop over the batch.
    features = standardised.reshape(1, batch * num_channels, *volumes.shape[2:])
    widths = [num_channels, *[num_hidden] * (num_layers - 1), num_channels]
    for layer, (num_in, num_out) in enumerate(pairwise(widths)):
        size = kernel_sizes[int(torch.randint(len(kernel_sizes), (), generator=generator))]
        weight = torch.randn((batch * num_out, num_in, size, size, size), generator=generator)
        # Scaled by the fan-in: activations keep their size, so that the shifts bend the mapping at every depth.
        weight /= (num_in * size**3) ** 0.5
        shift = torch.randn((batch * num_out,), generator=generator)
        if layer > 0:
            features = F.leaky_relu(features, LEAK)
        features = F.conv3d(features, weight.to(volumes), shift.to(volumes), padding=size // 2, groups=batch)
    output = features.reshape(volumes.shape).to(volumes.dtype)  # autocast may have lowered it
    alpha = torch.empty(batch).uniform_(*alpha_range, generator=generator).view(PER_SAMPLE).to(volumes)
    output_mean, output_std = _foreground_moments(output, keep)
    mixed = torch.lerp(standardised, (output - output_mean) / output_std, alpha)
    mixed_mean, mixed_std = _foreground_moments(mixed, keep)
    result = ((mixed - mixed_mean) * (std / mixed_std) + mean).clamp_(0.0, 1.0)
    return torch.where(keep, result, volumes)


def random_amplitude(
    volumes: Float[Tensor, "batch channel i j k"],
    generator: torch.Generator,
    *,
    half_width: int,
    strength: float,
) -> Float[Tensor, "batch channel i j k"]:
    """Multiply each low-frequency amplitude by its own log-normal factor exp(strength * N(0, 1)); the phase stays.

    Args:
        volumes: Intensities, commonly in [0, 1].
        generator: CPU generator; results don't depend on the volumes' device.
        half_width: Half-width of the window, see `appearance.half_width`.
        strength: Standard deviation of the factors' logarithm, >= 0; 0 returns the input.

    Returns:
        Real volumes in the input's shape, not confined to [0, 1].

    Raises:
        ValueError: If the strength is negative.
        GeometryError: If the window doesn't fit the volumes.
    """
    if strength < 0.0:
        msg = f"strength must be >= 0, got {strength}"
        raise ValueError(msg)
    block = style_block(volumes, half_width)
    side = 2 * half_width - 1
    factors = torch.randn(block.shape, generator=generator).mul_(strength).exp_()
    # A real volume has equal amplitudes at (i, j, 0) and (-i, -j, 0): give both the factor of the one listed first.
    index = torch.arange(side * side)
    negated = (-(index // side)) % side * side + (-(index % side)) % side
    plane = factors[..., 0].flatten(2)
    factors[..., 0] = plane[..., torch.minimum(index, negated)].reshape(factors.shape[:-1])
    return align_appearance(volumes, block * factors.to(block))


def random_contrast_curve(
    volumes: Float[Tensor, "batch channel i j k"],
    generator: torch.Generator,
    *,
    num_knots: int = 5,
    monotone_probability: float = 0.5,
) -> Float[Tensor, "batch channel i j k"]:
    """Map intensities through a random piecewise-linear curve, as another MR sequence would (Models Genesis, sec. 3.1).

    The curve's knots are evenly spaced over [0, 1] with U(0, 1) values, stretched to span [0, 1] so that contrast is
    moved but never lost. A monotone curve rises or falls (T1 to T2) with equal chance.

    Args:
        volumes: Intensities in [0, 1]; zero is background and stays zero.
        generator: CPU generator; results don't depend on the volumes' device.
        num_knots: Knots of the curve, >= 2.
        monotone_probability: Chance that the knots are sorted.

    Returns:
        Volumes in [0, 1], in the input's shape.

    Raises:
        ValueError: If there are fewer than two knots.
    """
    if num_knots < 2:
        msg = f"a curve needs at least two knots, got num_knots={num_knots}"
        raise ValueError(msg)
    batch, num_channels = volumes.shape[:2]
    free = torch.rand((batch, num_channels, num_knots), generator=generator)
    rising = free.sort(dim=-1).values
    is_monotone, is_falling = torch.rand((2, batch, num_channels, 1), generator=generator)
    monotone = torch.where(is_falling < 0.5, rising.flip(-1), rising)
    values = torch.where(is_monotone < monotone_probability, monotone, free)
    low, high = values.aminmax(dim=-1, keepdim=True)
    curve = ((values - low) / (high - low).clamp_min(SMALLEST_STD)).to(volumes)

    positions = volumes.flatten(2) * (num_knots - 1)
    left = positions.long().clamp_(0, num_knots - 2)
    mapped = torch.lerp(curve.gather(-1, left), curve.gather(-1, left + 1), positions - left)
    return torch.where(volumes > 0, mapped.reshape(volumes.shape), 0.0)


def _foreground_moments(
    volumes: Float[Tensor, "batch channel i j k"], keep: Bool[Tensor, "batch channel i j k"]
) -> tuple[Float[Tensor, "batch channel 1 1 1"], Float[Tensor, "batch channel 1 1 1"]]:
    """Mean and standard deviation over the kept voxels; the latter is at least `SMALLEST_STD`, so one may divide."""
    dims = (2, 3, 4)
    count = keep.sum(dim=dims, keepdim=True).clamp_min(1)
    mean = (volumes * keep).sum(dim=dims, keepdim=True) / count
    variance = ((volumes - mean) * keep).square().sum(dim=dims, keepdim=True) / count
    return mean, variance.sqrt().clamp_min(SMALLEST_STD)
