"""Numbers about one scan: cheap ones, from every few voxels, that tell more when seen beside those of other scans."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.nifti import NiftiLayout
from diffuse_uda.data.volumes import Volume
from diffuse_uda.types import Spacing, Triple

SAMPLES_PER_AXIS = 24
"""At most about this many voxels along an axis are looked at where a few are enough."""
NUM_BLOCKS = 6
"""Blocks along each axis of the coarse picture that scans are compared by."""
MIN_MARKS = 20
_SUBSAMPLES = 2
_DARK = 0.1
_BRIGHT = 0.8
_BRIGHT_END = 0.995
_AIR_HU = -500.0
_MANY_COLUMNS = 0.2

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanFacts:
    """What is known of one scan, without one voxel of it."""

    shape: Triple
    spacing_mm: Spacing
    orientation: str
    stored_as: str
    """Type in the file, such as `int16`."""
    is_scaled: bool
    lowest: float
    highest: float
    mean: float
    """Of the voxels that are not the lowest value, like the standard deviation."""
    std: float
    air_share: float
    """Share below -500, as only CT has."""
    num_bright_corners: int
    """Corners, of eight, in the upper fifth of the scan's range."""
    corners_over_middle: float
    """By how much all corners but one are brighter than the middle; negative in any usual scan."""
    clipped_share: float
    """Share of voxels at an end of a 16-bit type."""
    num_marked_columns: int
    """Columns of the largest value through all slices of one axis, where those are few."""
    filled_share: float
    """Share of the scan's box that the box around its bright part takes."""
    faces: tuple[float, ...]
    """Bright share of the left, right, posterior, anterior, inferior and superior face."""
    blocks: bytes
    """float16 means of 6 x 6 x 6 blocks towards right, anterior, superior."""
    digest: bytes
    """Equal for equal scans; different ones may share it, but hardly ever do."""


def describe_scan(scan: Volume, few: Array, layout: NiftiLayout, towards: Array) -> ScanFacts:
    """Measure a scan that passed `check_image`.

    Args:
        scan: Finite voxels with at least three values.
        few: A `sample` of them.
        layout: Its header.
        towards: Where its axes grow towards, see `axis_directions`.
    """
    voxels = scan.voxels
    lowest, highest = float(voxels.min()), float(voxels.max())
    turned = turn_to_ras(few, towards)
    # Without the few brightest voxels, of a vessel or an artefact.
    width = (
        float(np.partition(few, int(_BRIGHT_END * (few.size - 1)), axis=None)[int(_BRIGHT_END * (few.size - 1))])
        - lowest
    )
    is_bright = turned > lowest + _DARK * width
    inside = few[few > lowest].astype(np.float64)
    mean = float(inside.sum()) / inside.size if inside.size else lowest
    inside -= mean
    corners, middle = _corners(turned), _middle(turned)
    return ScanFacts(
        shape=scan.shape,
        spacing_mm=scan.spacing_mm,
        orientation="".join(("LPI", "RAS")[int(sign > 0)][int(world)] for world, sign in towards),
        stored_as=layout.voxel_type.name,
        is_scaled=layout.is_scaled,
        lowest=lowest,
        highest=highest,
        mean=mean,
        std=math.sqrt(float(inside @ inside) / inside.size) if inside.size else 0.0,
        air_share=float(np.count_nonzero(few < _AIR_HU)) / few.size if lowest < _AIR_HU else 0.0,
        num_bright_corners=sum(corner > max(middle, lowest + _BRIGHT * width) for corner in corners),
        corners_over_middle=sorted(corners)[1] - middle,
        clipped_share=_clipped_share(voxels, layout, lowest, highest),
        num_marked_columns=_marked_columns(voxels, highest),
        filled_share=_filled_share(is_bright),
        faces=_face_shares(is_bright),
        blocks=_block_means(turned).astype(np.float16).tobytes(),
        digest=hashlib.blake2b(few.tobytes(), digest_size=16, person=str(scan.shape).encode()[:16]).digest(),
    )


def axis_directions(affine_mm: npt.NDArray[np.float64]) -> Array:
    """Find out where voxel axes grow towards.

    Args:
        affine_mm: With axes at right angles, as every affine that passed the gate has.

    Returns:
        The same as nibabel's `io_orientation`, a row for each of i, j, k: 0, 1 or 2 for right, anterior or superior,
        and 1, or -1 for the opposite side. Its singular value decomposition is left out: right angles need none.
    """
    cosines = affine_mm[:3, :3] / np.sqrt((affine_mm[:3, :3] ** 2).sum(axis=0))
    sizes = np.abs(cosines)
    directions = np.zeros((3, 2))
    for _ in range(3):
        world, axis = divmod(int(sizes.argmax()), 3)
        directions[axis] = world, 1.0 if cosines[world, axis] > 0 else -1.0
        sizes[world, :] = sizes[:, axis] = -1.0
    return directions


def turn_to_ras(voxels: Array, towards: Array) -> Array:
    """Permute and flip axes until they grow towards right, anterior and superior; a view.

    The same as nibabel's `apply_orientation`, which takes longer for its checks than for its work.
    """
    flipped = voxels[tuple(slice(None, None, int(sign)) for sign in towards[:, 1])]
    turned: Array = flipped.transpose(np.argsort(towards[:, 0]))
    return turned


def sample(voxels: Array) -> Array:
    """Every few voxels along each axis, as many for equal shapes."""
    return np.ascontiguousarray(voxels[tuple(slice(None, None, step) for step in sample_steps(voxels.shape))])


def sample_steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Distance in voxels between samples along each axis."""
    return tuple(-(-size // SAMPLES_PER_AXIS) for size in shape)


def _corners(turned: Array) -> list[float]:
    ends = [((slice(0, max(1, n // 8))), slice(n - max(1, n // 8), n)) for n in turned.shape]
    return [_median(turned[i, j, k]) for i in ends[0] for j in ends[1] for k in ends[2]]


def _middle(turned: Array) -> float:
    return _median(turned[tuple(slice(3 * n // 8, 3 * n // 8 + max(1, n // 4)) for n in turned.shape)])


def _median(voxels: Array) -> float:
    """The upper median; numpy's own takes longer for its checks than for so few voxels."""
    return float(np.sort(voxels, axis=None)[voxels.size // 2])


def _clipped_share(voxels: Array, layout: NiftiLayout, lowest: float, highest: float) -> float:
    if layout.voxel_type.kind not in "iu" or layout.voxel_type.itemsize != 2:
        return 0.0
    info, tolerance = np.iinfo(layout.voxel_type), abs(layout.slope) / 2
    # The low end of an unsigned type is zero, which is what backgrounds are.
    ends = [info.max, info.min] if layout.voxel_type.kind == "i" else [info.max]
    count = 0
    for end in (layout.slope * end + layout.intercept for end in ends):
        if min(abs(end - lowest), abs(end - highest)) <= tolerance:
            count += int(np.count_nonzero(np.abs(voxels.astype(np.float64) - end) <= tolerance))
    return count / voxels.size


def _marked_columns(voxels: Array, highest: float) -> int:
    is_top = voxels == voxels.dtype.type(highest)
    if np.count_nonzero(is_top) < MIN_MARKS * min(voxels.shape):
        return 0
    most = 0
    for axis in range(3):
        columns = is_top.all(axis=axis)
        count = int(np.count_nonzero(columns))
        if count <= _MANY_COLUMNS * columns.size:  # more is a bright background
            most = max(most, count)
    return most


def _filled_share(is_bright: Array) -> float:
    share = 1.0
    for others in ((1, 2), (0, 2), (0, 1)):
        line: Array = np.any(is_bright, axis=others)
        share *= _span(line) / line.size
    return share


def _span(line: Array) -> int:
    where = np.flatnonzero(line)
    return int(where[-1]) - int(where[0]) + 1 if where.size else 0


def _face_shares(is_bright: Array) -> tuple[float, ...]:
    ends = (0, -1)
    faces = (
        *(is_bright[end] for end in ends),
        *(is_bright[:, end] for end in ends),
        *(is_bright[:, :, end] for end in ends),
    )
    return tuple(round(int(np.count_nonzero(face)) / face.size, 3) for face in faces)


def _block_means(turned: Array) -> npt.NDArray[np.float32]:
    """Means of 6 x 6 x 6 blocks, of 2 x 2 x 2 voxels each, scaled to the range 0 to 1."""
    num = NUM_BLOCKS * _SUBSAMPLES
    places = [((np.arange(num) + 0.5) / num * size).astype(np.int64) for size in turned.shape]
    picked = turned[np.ix_(*places)].astype(np.float32)
    means: npt.NDArray[np.float32] = picked.reshape((NUM_BLOCKS, _SUBSAMPLES) * 3).mean(axis=(1, 3, 5))
    low, high = float(means.min()), float(means.max())
    return (means - low) / (high - low) if high > low else means - low
