"""Intensities of any scanner to [0, 1], without a look at labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from scipy import ndimage
from skimage.filters import threshold_otsu

from diffuse_uda.data.broken_rule import BrokenRuleError

CONSTANT_BACKGROUND_FRACTION = 0.2
"""Share of voxels at the lowest value from which on the background counts as erased (skull-stripped, defaced)."""
_DARK_TISSUE = 0.25
_WINDOW_STDS = 2.0
_OUTLIER_PERCENTILES = (0.5, 99.5)


def foreground_mask(voxels: Shaped[np.ndarray, "i j k"]) -> Bool[np.ndarray, "i j k"]:
    """Find the body, without labels.

    Where at least a fifth of the scan has exactly the lowest value, that is an erased background, and everything more
    than a thousandth of the range above it is body (interpolation leaves a faint rim around an erased background).
    Otherwise the background is noise: Otsu's threshold tells air from tissue, roughly. It lies about half-way between
    their means, and dark tissue (fluid on FLAIR, white matter on T2w) below it; so the cut is made a quarter of the
    way, and holes are filled.

    Args:
        voxels: One scan; finite.

    Returns:
        Mask of the body; not empty.

    Raises:
        BrokenRuleError: If all voxels are equal.
    """
    lowest, high = float(voxels.min()), float(np.percentile(voxels, _OUTLIER_PERCENTILES[1]))
    high = high if high > lowest else float(voxels.max())
    if not high > lowest:
        found = f"every voxel is {lowest:g}"
        raise _constant(found)
    if np.count_nonzero(voxels == lowest) >= CONSTANT_BACKGROUND_FRACTION * voxels.size:
        mask: Bool[np.ndarray, "i j k"] = voxels > lowest + 1e-3 * (high - lowest)
        return mask
    # One metal artefact would stretch the histogram until all tissue falls into one bin.
    clipped = np.minimum(voxels, high)
    is_air = clipped <= threshold_otsu(clipped)
    air, tissue = float(clipped[is_air].mean()), float(clipped[~is_air].mean())
    return ndimage.binary_fill_holes(clipped > air + _DARK_TISSUE * (tissue - air)).astype(bool)


def normalise_intensity(
    voxels: Shaped[np.ndarray, "i j k"], foreground: Bool[np.ndarray, "i j k"]
) -> Float32[np.ndarray, "i j k"]:
    """Map the window mean +/- 2 std of the foreground to [0, 1] (ASC+, Diffuse-UDA, arXiv 2408.05985).

    Mean and standard deviation leave the lowest and the highest half percent of the foreground out, so that a bright
    vessel or a metal artefact doesn't widen the window.

    Args:
        voxels: One scan; finite, any unit.
        foreground: Body of the scan, from `foreground_mask`.

    Returns:
        Intensities in [0, 1]; the background is 0.

    Raises:
        BrokenRuleError: If the foreground is empty or has a single intensity: there is nothing to segment by.
    """
    inside = voxels[foreground].astype(np.float64)
    if inside.size == 0:
        found = "no foreground"
        raise _constant(found)
    low, high = np.percentile(inside, _OUTLIER_PERCENTILES)
    typical = inside[(inside >= low) & (inside <= high)]
    # Percentiles interpolate: among a handful of voxels none may lie between them.
    typical = typical if typical.size else inside
    centre, width = float(typical.mean()), _WINDOW_STDS * float(typical.std())
    if width <= 1e-6 * max(abs(centre), 1e-12):
        found = f"every voxel of the foreground is about {centre:g}"
        raise _constant(found)
    scaled = np.zeros(voxels.shape, dtype=np.float32)
    scaled[foreground] = np.clip((inside - (centre - width)) / (2.0 * width), 0.0, 1.0)
    return scaled


def _constant(found: str) -> BrokenRuleError:
    return BrokenRuleError("constant-image", found=found)
