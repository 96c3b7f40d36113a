"""Is a rendered image a copy of a scan? A smoke alarm, not a proof of the opposite.

A rendered image follows its label map, and so does the scan that the label map was drawn on: what both owe to it says
nothing. So the mean of every class is taken out of both, noise is averaged away, and what is left (texture, shading,
what nobody labelled) is correlated. On phantom scans, renderings came to 0.69 at most and other people's scans to 0.75;
a scan itself, flipped, moved by voxels and noisy, came to 0.99. Memorised patients that are changed more than that
pass, so a data set that passed is not anonymous for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from skimage.feature import match_template

COPY_CORRELATION = 0.9
"""Correlation of what labels do not explain, from which on a rendered image counts as a copy."""
SEARCH_VOXELS = 3
"""How far a copy may have been moved along each axis."""

Image = Float32[np.ndarray, "i j k"]


def nearest_correlation(
    image: Image, label_map: UInt8[np.ndarray, "i j k"], scans: Sequence[Float32[np.ndarray, "x y z"]]
) -> float:
    """Correlation of a rendered image with the scan it is most like, beyond what its label map explains.

    Args:
        image: In [0, 1], air is 0.
        label_map: What it was rendered from.
        scans: On the same working grid and in the same range, of any size; left-right flips are tried as well.

    Returns:
        The largest correlation, in [-1, 1]; -1 without scans.
    """
    own = _pooled(_unexplained(image, label_map, image))
    return max(
        (
            _correlation(own, _pooled(_unexplained(_aligned(image, seen), label_map, image)))
            for scan in scans
            for seen in (scan, np.ascontiguousarray(scan[::-1]))
        ),
        default=-1.0,
    )


def _aligned(image: Image, scan: Float32[np.ndarray, "x y z"]) -> Image:
    """The part of a scan that is most like the image, at the image's size."""
    margins = []
    for size, have in zip(image.shape, scan.shape, strict=True):
        missing = max(size - have, 0)
        margins.append((SEARCH_VOXELS + missing // 2, SEARCH_VOXELS + missing - missing // 2))
    padded = np.pad(scan, margins)
    likeness = match_template(_pooled(padded), _pooled(image))  # on half the grid: an eighth of the voxels
    coarse = 2 * np.asarray(np.unravel_index(int(np.nanargmax(likeness)), likeness.shape))
    last = np.asarray(padded.shape) - np.asarray(image.shape)
    starts = {
        tuple(int(at) for at in np.clip(coarse + step, 0, last)) for step in itertools.product((-1, 0, 1), repeat=3)
    }
    parts = (_part(padded, start, image.shape) for start in sorted(starts))
    return max(parts, key=lambda part: _correlation(image - image.mean(), part - part.mean()))


def _part(scan: Image, start: tuple[int, ...], shape: tuple[int, ...]) -> Image:
    return scan[tuple(slice(at, at + size) for at, size in zip(start, shape, strict=True))]


def _unexplained(scan: Image, label_map: UInt8[np.ndarray, "i j k"], image: Image) -> Image:
    """What is left of a scan without the means of classes; air, as the rendered image has it, counts as a class."""
    classes = np.where((image > 0) | (label_map > 0), label_map.astype(np.int64) + 1, 0)
    flat = classes.ravel()
    means = np.bincount(flat, weights=scan.ravel()) / np.maximum(np.bincount(flat), 1)
    left: Image = np.where(classes > 0, scan - means[classes], 0.0).astype(np.float32)
    return left


def _pooled(scan: Image) -> Image:
    """Means of 2x2x2 voxels: noise goes, texture and shading stay."""
    i, j, k = (size // 2 * 2 for size in scan.shape)
    pooled: Image = scan[:i, :j, :k].reshape(i // 2, 2, j // 2, 2, k // 2, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return pooled


def _correlation(one: Image, other: Image) -> float:
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else 0.0
