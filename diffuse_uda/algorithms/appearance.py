"""Fourier appearance alignment in 3D: one volume's anatomy with another's low-frequency amplitude.

FDA (arXiv:2004.05498) carried to volumes as in ASC (arXiv:2310.14172) and ASC+ (arXiv:2408.05985). All a volume's style
needs is a *style block*: the amplitudes of the lowest frequencies, (2b-1, 2b-1, b) floats for half-width b.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffuse_uda.errors import GeometryError
from diffuse_uda.types import Triple

SPATIAL_DIMS = (-3, -2, -1)
# The transform is divided by the number of voxels, so an amplitude is an intensity: the block of a volume and of the
# same volume on a finer grid agree. An unnormalised transform would grow with the grid.
FFT_NORM = "forward"

SMALLEST_WINDOW = 0.1
"""Least window before jitter, and the window of plain ASC, as a fraction of the shortest side."""
WINDOW_JITTER = (0.5, 1.5)


def half_width(shape: Triple, window: float) -> int:
    """Turn a window size into a half-width b = max(1, floor(0.5 * min(shape) * window)).

    Args:
        shape: Voxels along i, j and k.
        window: Side of the window as a fraction of the shortest side, in (0, 1].

    Returns:
        The half-width b in frequency indices, from 1 (only the mean is aligned) to min(shape) // 2.

    Raises:
        ValueError: If the window is outside (0, 1].
    """
    if not 0.0 < window <= 1.0:
        msg = f"window must be a fraction of the shortest side in (0, 1], got {window}"
        raise ValueError(msg)
    return max(1, math.floor(0.5 * min(shape) * window))


def style_block(volumes: Float[Tensor, "batch channel i j k"], half_width: int) -> Float[Tensor, "batch channel a b c"]:
    """Cut out the low-frequency amplitudes that make a volume's appearance.

    Amplitudes are in units of intensity (transform divided by the number of voxels; the first one is the absolute
    mean), and index f counts cycles over the field of view. Blocks of volumes of different shapes are therefore
    comparable exactly when the volumes show the same field of view at different resolutions. Between different fields
    of view, index f is a different physical frequency: crop or pad to a common extent first.

    Args:
        volumes: Intensities, commonly in [0, 1].
        half_width: Half-width b >= 1 with 2b - 1 <= the shortest side.

    Returns:
        Amplitudes >= 0 of shape (batch, channel, 2b-1, 2b-1, b), frequencies ordered 0..b-1, -(b-1)..-1 along i and
        j, and 0..b-1 along k. This set is closed under negation, so it keeps the Hermitian symmetry of a real volume.

    Raises:
        GeometryError: If the block doesn't fit the volume.
    """
    _require_fit(volumes, half_width)
    spectrum = torch.fft.rfftn(volumes, dim=SPATIAL_DIMS, norm=FFT_NORM)
    rows = _frequencies(half_width, volumes.device)
    amplitudes: Tensor = spectrum[:, :, rows[:, None], rows, :half_width].abs()
    return amplitudes


def mean_style_block(blocks: Float[Tensor, "batch channel a b c"]) -> Float[Tensor, "1 channel a b c"]:
    """Average style blocks over the batch; the result serves every content volume of `align_appearance`."""
    return blocks.mean(dim=0, keepdim=True)


def crop_style_block(
    block: Float[Tensor, "batch channel a b c"], half_width: int
) -> Float[Tensor, "batch channel d e f"]:
    """Cut the block of a smaller half-width out of a larger one, as if it had been measured that way.

    Raises:
        GeometryError: If the block is smaller than that, or is no style block.
    """
    available = block_half_width(block)
    if not 1 <= half_width <= available:
        msg = f"half_width {half_width} asked of a style block of half-width {available}; it must be in 1..{available}"
        raise GeometryError(msg)
    rows = _frequencies(half_width, block.device)
    return block[:, :, rows[:, None], rows, :half_width]


def block_half_width(block: Float[Tensor, "batch channel a b c"]) -> int:
    """Read the half-width b off a style block of shape (batch, channel, 2b-1, 2b-1, b).

    Raises:
        GeometryError: If the shape isn't that of a style block.
    """
    b = block.shape[-1]
    if block.ndim != 5 or b < 1 or tuple(block.shape[2:4]) != (2 * b - 1, 2 * b - 1):
        msg = f"a style block has shape (batch, channel, 2b-1, 2b-1, b), got {tuple(block.shape)}"
        raise GeometryError(msg)
    return b


def align_appearance(
    content: Float[Tensor, "batch channel i j k"], style: Float[Tensor, "style_batch channel a b c"]
) -> Float[Tensor, "batch channel i j k"]:
    """Give the content the style's low-frequency amplitude; its phase, thus its anatomy, stays (FDA, eq. 3).

    The result is real but not confined to [0, 1], and background zeros do not stay exactly zero.

    Args:
        content: Volumes whose structure is kept.
        style: Style blocks, one for each volume or one for all; their size gives the window.

    Returns:
        Volumes of the content's shape.

    Raises:
        GeometryError: If batch, channels or size of the style don't suit the content.
    """
    b = block_half_width(style)
    _require_fit(content, b)
    if style.shape[0] not in (1, content.shape[0]) or style.shape[1] != content.shape[1]:
        msg = (
            f"style has batch and channels {tuple(style.shape[:2])}, content {tuple(content.shape[:2])}: "
            "give one style block a volume, or one for all, with as many channels"
        )
        raise GeometryError(msg)
    spectrum = torch.fft.rfftn(content, dim=SPATIAL_DIMS, norm=FFT_NORM)
    rows = _frequencies(b, content.device)
    phase = spectrum[:, :, rows[:, None], rows, :b].angle()
    spectrum[:, :, rows[:, None], rows, :b] = torch.polar(style.to(phase).expand_as(phase), phase)
    aligned: Tensor = torch.fft.irfftn(spectrum, s=content.shape[2:], dim=SPATIAL_DIMS, norm=FFT_NORM)
    return aligned


def histogram_distance(first: Tensor, second: Tensor, num_bins: int = 256) -> float:
    """Measure how far two intensity distributions are apart (ASC+): d = sum over bins of (h1 - h2)^2.

    Args:
        first: Intensities in [0, 1], any shape; values outside count in the outermost bins.
        second: The same of the other domain; the number of voxels may differ.
        num_bins: Bins of equal width over [0, 1].

    Returns:
        Distance of the histograms, each summing to 1: 0 when equal, 2 when each fills one bin of its own.
    """
    difference = _normalised_histogram(first, num_bins) - _normalised_histogram(second, num_bins)
    return float(difference.square().sum())


def adaptive_window(distance: float, jitter: float) -> float:
    """Widen the window with the distance of the domains (ASC+): max(d / (d + 1), 0.1) * jitter.

    Args:
        distance: What `histogram_distance` returned, in [0, 2].
        jitter: A draw of U(0.5, 1.5), see `draw_window`.

    Returns:
        Window as a fraction of the shortest side, in [0.05, 1].

    Raises:
        ValueError: If distance or jitter is out of range.
    """
    low, high = WINDOW_JITTER
    if not 0.0 <= distance <= 2.0 or not low <= jitter <= high:
        msg = f"distance must be in [0, 2] and jitter in [{low}, {high}], got {distance} and {jitter}"
        raise ValueError(msg)
    # d = 2 and jitter = 1.5 give 1 up to rounding, and a window above 1 would not fit.
    return min(max(distance / (distance + 1.0), SMALLEST_WINDOW) * jitter, 1.0)


def draw_window(distance: float, generator: torch.Generator) -> float:
    """Draw the jitter of `adaptive_window` and return the window."""
    return adaptive_window(distance, torch.empty(()).uniform_(*WINDOW_JITTER, generator=generator).item())


def _frequencies(half_width: int, device: torch.device) -> Tensor:
    """List the indices 0..b-1, -(b-1)..-1 of a full axis."""
    return torch.cat([torch.arange(half_width, device=device), torch.arange(1 - half_width, 0, device=device)])


def _require_fit(volumes: Tensor, half_width: int) -> None:
    """Refuse a window whose positive and negative frequencies would overlap."""
    shortest = min(volumes.shape[2:])
    if not 1 <= half_width <= (shortest + 1) // 2:
        msg = (
            f"half_width {half_width} doesn't fit volumes of shape {tuple(volumes.shape)}: "
            f"it must be in 1..{(shortest + 1) // 2}"
        )
        raise GeometryError(msg)


def _normalised_histogram(intensities: Tensor, num_bins: int) -> Float[Tensor, " bin"]:
    """Count intensities in equal bins of [0, 1] and divide by their number."""
    # bincount, not histc: histc has no deterministic version on GPUs.
    bins = (intensities.flatten() * num_bins).long().clamp_(0, num_bins - 1)
    return torch.bincount(bins, minlength=num_bins).double() / bins.numel()
