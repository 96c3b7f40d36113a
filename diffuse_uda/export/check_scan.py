"""A scan of nobody, on which every exported model has to say what the original says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from diffuse_uda.config import GridConfig
from diffuse_uda.data.volumes import Volume

_SIZE = 1.15
"""Of the scan over a patch: large enough for several windows."""
_STEPS = (0.7, 1.25, 0.9)
"""Spacing over the working spacing: finer along one axis, coarser along another."""


def check_scan(grid: GridConfig, *, seed: int = 0) -> Volume:
    """Nested ellipsoids of different brightness with texture and noise; oblique, and left to right the other way.

    Args:
        grid: Of the model: the scan is a little larger than a patch and has other voxels, so that every step of the
            preprocessing has something to do.
        seed: Of texture and noise.
    """
    draw = np.random.default_rng(seed)
    spacing_mm = np.asarray(grid.spacing_mm) * _STEPS
    size_mm = np.asarray(grid.patch_size) * np.asarray(grid.spacing_mm) * _SIZE
    shape = np.maximum(np.rint(size_mm / spacing_mm).astype(int), 4)
    axes = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in shape)]
    from_middle = np.sqrt(sum(axis**2 for axis in axes))
    voxels = np.zeros(shape, dtype=np.float64)
    for radius, brightness in ((0.9, 500.0), (0.75, 800.0), (0.55, 1100.0), (0.3, 300.0)):
        voxels[from_middle < radius] = brightness
    voxels[_ball(axes, (0.35, -0.2, 0.1), 0.2)] = 1400.0
    voxels += 60.0 * np.sin(9 * axes[0]) * np.cos(7 * axes[1] + 5 * axes[2]) * (voxels > 0)
    voxels = np.abs(voxels + draw.normal(0.0, 25.0, shape))
    affine_mm = np.eye(4)
    affine_mm[:3, :3] = _turn() @ np.diag(spacing_mm * (-1.0, -1.0, 1.0))
    affine_mm[:3, 3] = (size_mm / 2) * (1.0, 1.0, -1.0)
    return Volume(voxels=np.rint(voxels).astype(np.int16), affine_mm=affine_mm)


def _ball(
    axes: Sequence[npt.NDArray[np.float64]], middle: tuple[float, float, float], radius: float
) -> npt.NDArray[np.bool_]:
    i, j, k = ((axis - at) ** 2 for axis, at in zip(axes, middle, strict=True))
    inside: npt.NDArray[np.bool_] = (i + j + k) < radius**2
    return inside


def _turn() -> npt.NDArray[np.float64]:
    """Ten degrees about S, then six about R."""
    about_s, about_r = np.deg2rad(10.0), np.deg2rad(6.0)
    cos, sin = np.cos(about_s), np.sin(about_s)
    first = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    cos, sin = np.cos(about_r), np.sin(about_r)
    turned: npt.NDArray[np.float64] = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]]) @ first
    return turned
