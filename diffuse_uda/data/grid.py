"""The working grid that networks see, and the way back to the scan's own voxels.

The working grid has the scan's voxel axes, reordered and flipped so that i, j, k grow towards right, anterior and
superior as closely as possible (RAS+), and the wanted spacing. It keeps the scan's rotation: an oblique scan with the
right spacing is not interpolated at all, and on the way back every scan voxel is met exactly. (Rotating to the
scanner's axes would blur every oblique scan twice and enlarge its field of view; small rotations are what
augmentation covers.) Fields of view share their centre, so resampling shifts nothing.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import nibabel as nib
import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Shaped, UInt8
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import Volume
from diffuse_uda.types import Spacing, Triple

Affine = npt.NDArray[np.float64]

SPACING_TOLERANCE = 1e-3
"""Relative difference of spacings below which voxels stay as they are: half a voxel over 500."""
MAX_WORKING_VOXELS = 1024**3
_FWHM_IN_STDS = 2.0 * math.sqrt(2.0 * math.log(2.0))


class Grid(Protocol):
    """Where voxels are; every `Volume` has one."""

    @property
    def shape(self) -> Triple:
        """Voxels along i, j and k."""
        ...

    @property
    def affine_mm(self) -> Affine:
        """Voxel index to world mm (RAS+)."""
        ...


def to_working_grid(volume: Volume, spacing_mm: Spacing, *, kind: Literal["image", "label"]) -> Volume:
    """Bring a scan or a label map to RAS+ axes and the working spacing.

    Scans are interpolated linearly. Where the working voxels are larger, a Gaussian first widens the scan's point
    spread to theirs (in quadrature, taking a voxel's spacing for the full width at half maximum), which keeps fine
    detail from turning into stripes. Label maps take the same way class by class, and the class with the largest share
    wins: at larger voxels that is the majority, at smaller ones a smooth border, where nearest neighbours would leave
    steps. With the right spacing already there, voxels are only reordered.

    Args:
        volume: A scan, or the label map on the same grid.
        spacing_mm: Wanted distance between voxel centres towards R, A and S.
        kind: What the voxels mean.

    Returns:
        A scan as float32 where it had to be interpolated, otherwise in its own type.

    Raises:
        BrokenRuleError: If the working grid would be absurdly large.
    """
    ras = _reoriented(volume)
    if _is_close(ras.spacing_mm, spacing_mm):
        return ras
    shape, affine_mm = _resampled_grid(ras, spacing_mm)
    index_map = np.linalg.inv(ras.affine_mm) @ affine_mm
    resample = _resampled_image if kind == "image" else _resampled_label_map
    return Volume(voxels=resample(ras.voxels, index_map, shape), affine_mm=affine_mm)


def from_working_grid(
    probabilities: Float[np.ndarray, "klass i j k"], working_affine_mm: Affine, scan: Grid
) -> UInt8[np.ndarray, "x y z"]:
    """Bring a segmentation back to the voxels of the scan it belongs to.

    Probabilities are interpolated linearly and then compared, so borders lie between voxels where they belong. Where
    both grids share their voxels, nothing is interpolated: the winning class of each voxel is looked up. Nothing is
    smoothed on this way: softmax is smooth already, and thin structures would be lost.

    Args:
        probabilities: Class probabilities on the working grid; class 0 is the background.
        working_affine_mm: Index of `probabilities` (i, j, k) to world mm.
        scan: Grid to come back to.

    Returns:
        Class of every voxel of the scan; background outside the working grid.
    """
    ornt = io_orientation(scan.affine_mm)
    order = np.argsort(ornt[:, 0])
    i, j, k = (scan.shape[int(axis)] for axis in order)
    ras_affine_mm = scan.affine_mm @ inv_ornt_aff(ornt, scan.shape)
    index_map = np.linalg.inv(working_affine_mm) @ ras_affine_mm
    label_map = _classes_at(probabilities, index_map, (i, j, k))
    back = nib.orientations.ornt_transform(io_orientation(ras_affine_mm), ornt)
    return np.ascontiguousarray(apply_orientation(label_map, back), dtype=np.uint8)


def _reoriented(volume: Volume) -> Volume:
    ornt = io_orientation(volume.affine_mm)
    voxels = np.ascontiguousarray(apply_orientation(volume.voxels, ornt))
    return Volume(voxels=voxels, affine_mm=volume.affine_mm @ inv_ornt_aff(ornt, volume.shape))


def _is_close(first: Spacing, second: Spacing) -> bool:
    return bool(np.allclose(first, second, rtol=SPACING_TOLERANCE, atol=0.0))


def _resampled_grid(ras: Volume, spacing_mm: Spacing) -> tuple[Triple, Affine]:
    """Same centre, same axes, as many voxels as cover the field of view."""
    old_mm, new_mm = np.asarray(ras.spacing_mm), np.asarray(spacing_mm)
    # Rounded up, so that the way back reaches the outermost voxels of the scan; a twentieth of a voxel may be missing.
    counts = np.maximum(np.ceil(np.asarray(ras.shape) * old_mm / new_mm - 0.05), 1).astype(np.int64)
    if math.prod(counts.tolist()) > MAX_WORKING_VOXELS:
        raise BrokenRuleError(
            "absurd-size",
            found=f"{ras.shape} voxels of {ras.spacing_mm} mm would become {tuple(counts.tolist())} of {spacing_mm} mm",
            wanted=f"at most {MAX_WORKING_VOXELS:,} working voxels",
            fix="check the scan's spacing, or choose a larger working spacing",
        )
    affine_mm = np.eye(4)
    affine_mm[:3, :3] = ras.affine_mm[:3, :3] * (new_mm / old_mm)
    centre_mm = ras.affine_mm[:3, :3] @ ((np.asarray(ras.shape) - 1) / 2) + ras.affine_mm[:3, 3]
    affine_mm[:3, 3] = centre_mm - affine_mm[:3, :3] @ ((counts - 1) / 2)
    i, j, k = counts.tolist()
    return (i, j, k), affine_mm


def _resampled_image(voxels: Shaped[np.ndarray, "i j k"], index_map: Affine, shape: Triple) -> npt.NDArray[np.float32]:
    return _linear(_widened(voxels.astype(np.float32), index_map), index_map, shape)


def _resampled_label_map(
    voxels: Shaped[np.ndarray, "i j k"], index_map: Affine, shape: Triple
) -> Shaped[np.ndarray, "x y z"]:
    winner = np.zeros(shape, dtype=voxels.dtype)
    largest = np.full(shape, -1.0, dtype=np.float32)
    for value in np.unique(voxels):
        share = _linear(_widened((voxels == value).astype(np.float32), index_map), index_map, shape)
        won = share > largest
        winner[won] = value
        largest[won] = share[won]
    return winner


def _classes_at(
    probabilities: Float[np.ndarray, "klass i j k"], index_map: Affine, shape: Triple
) -> UInt8[np.ndarray, "x y z"]:
    shift = np.rint(index_map[:3, 3]).astype(np.int64)
    if _is_whole_shift(index_map, shape):
        return _looked_up(probabilities.argmax(axis=0).astype(np.uint8), shift, shape)
    winner = np.zeros(shape, dtype=np.uint8)
    largest = np.full(shape, -1.0, dtype=np.float32)
    for klass, probability in enumerate(probabilities):
        here = _linear(np.asarray(probability, dtype=np.float32), index_map, shape)
        won = here > largest
        winner[won] = klass
        largest[won] = here[won]
    winner[_outside(index_map, shape, probabilities.shape[1:])] = 0
    return winner


def _is_whole_shift(index_map: Affine, shape: Triple) -> bool:
    """Whether every index lands within a hundredth of a voxel of a whole one, by the same shift for all."""
    whole = np.eye(4)
    whole[:3, 3] = np.rint(index_map[:3, 3])
    worst = np.abs(index_map - whole)[:3] @ np.array([*shape, 1])
    return bool(worst.max() < 1e-2)


def _looked_up(
    label_map: UInt8[np.ndarray, "i j k"], shift: npt.NDArray[np.int64], shape: Triple
) -> UInt8[np.ndarray, "x y z"]:
    """Voxels from `shift` on; background where there are none."""
    found = np.zeros(shape, dtype=np.uint8)
    first = np.maximum(shift, 0)
    last = np.minimum(shift + np.asarray(shape), np.asarray(label_map.shape))
    if (last > first).all():
        there = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        here = tuple(slice(int(a), int(b)) for a, b in zip(first - shift, last - shift, strict=True))
        found[here] = label_map[there]
    return found


def _widened(voxels: npt.NDArray[np.float32], index_map: Affine) -> npt.NDArray[np.float32]:
    """Point spread of a voxel widened to the step of `index_map` along each axis; narrower steps change nothing."""
    step = np.linalg.norm(index_map[:3, :3], axis=1)
    stds = np.sqrt(np.maximum(step**2 - 1.0, 0.0)) / _FWHM_IN_STDS
    return ndimage.gaussian_filter(voxels, stds, mode="nearest", truncate=3.0) if stds.max() > 0.1 else voxels


def _linear(voxels: npt.NDArray[np.float32], index_map: Affine, shape: Triple) -> npt.NDArray[np.float32]:
    """Values at new indices; `index_map` takes them to indices of `voxels`, whose edge goes on for ever."""
    matrix = index_map[:3, :3]
    diagonal = np.diag(matrix)
    # scipy is several times faster with a diagonal, and exact where the remaining terms are rounding.
    is_diagonal = np.abs(matrix - np.diag(diagonal)).max() * max(shape) < 1e-4
    return ndimage.affine_transform(
        voxels,
        diagonal if is_diagonal else matrix,
        offset=index_map[:3, 3],
        output_shape=shape,
        order=1,
        mode="nearest",
        output=np.float32,
    )


def _outside(index_map: Affine, shape: Triple, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Voxels whose centre lies outside the other field of view, which ends half a voxel beyond its last centres."""
    outside = np.zeros(shape, dtype=bool)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for axis, count in enumerate(size):
        row = index_map[axis]
        index = row[0] * i + row[1] * j + row[2] * k + row[3]
        outside |= (index < -0.5 - 1e-6) | (index > count - 0.5 + 1e-6)
    return outside
