"""Three planes through a volume, turned the way a radiologist looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from diffuse_uda.types import Triple

AnyArray = npt.NDArray[Any]
Window = tuple[slice, slice, slice]


class Plane(StrEnum):
    """A cut through the body; right is on the left of the picture, anterior on the left of a sagittal one."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def fixed_axis(self) -> int:
        """Axis of the RAS+ volume that the cut is perpendicular to."""
        return {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}[self]

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """What is towards the left, right, top and bottom of the picture."""
        return {
            Plane.AXIAL: ("R", "L", "A", "P"),
            Plane.CORONAL: ("R", "L", "S", "I"),
            Plane.SAGITTAL: ("A", "P", "S", "I"),
        }[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where the three planes of a case lie, in voxels of the RAS+ volume."""

    centre: Triple
    window: Window
    """The part that is shown."""


def turn_to_ras(voxels: AnyArray, affine_mm: npt.NDArray[np.float64]) -> AnyArray:
    """Permute and flip axes, without resampling, until they grow towards right, anterior and superior.

    Args:
        voxels: Shape (i, j, k).
        affine_mm: From voxel indices to world millimetres (RAS+); an oblique one is taken by its nearest axes.

    Returns:
        A view of the same voxels.
    """
    turned: AnyArray = nib.apply_orientation(voxels, nib.io_orientation(affine_mm))
    return turned


def ras_spacing_mm(affine_mm: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Millimetres between voxel centres along right, anterior and superior, after `turn_to_ras`."""
    spacing_mm = np.linalg.norm(affine_mm[:3, :3], axis=0)
    towards = nib.io_orientation(affine_mm)[:, 0].astype(int)
    right, anterior, superior = spacing_mm[np.argsort(towards)]
    return float(right), float(anterior), float(superior)


def find_cut(label_map: AnyArray, *, margin: Triple) -> Cut:
    """Choose the planes with most to see: on each axis the slice with most structures, then with most labelled voxels.

    The choice looks at one label map only (the reference, where there is one), so no method is shown at its best.

    Args:
        label_map: Classes of a RAS+ volume, 0 is background. Without any structure the middle is taken.
        margin: Voxels to show around the structures.
    """
    if not label_map.any():
        i, j, k = label_map.shape
        return Cut(centre=(i // 2, j // 2, k // 2), window=(slice(0, i), slice(0, j), slice(0, k)))
    centre, window = zip(*(_best_slice(label_map, axis, margin[axis]) for axis in range(3)), strict=True)
    return Cut(centre=centre, window=window)


def _best_slice(label_map: AnyArray, axis: int, margin: int) -> tuple[int, slice]:
    classes = np.unique(label_map)
    others = tuple(other for other in range(3) if other != axis)
    areas = np.stack([np.count_nonzero(label_map == label, axis=others) for label in classes if label])
    area, num_structures = areas.sum(axis=0), np.count_nonzero(areas, axis=0)
    best = int(np.lexsort((area, num_structures))[-1])
    first, last = np.flatnonzero(area)[[0, -1]]
    return best, slice(max(0, int(first) - margin), min(len(area), int(last) + 1 + margin))


def take_plane(volume: AnyArray, plane: Plane, cut: Cut) -> AnyArray:
    """Cut one plane out of a RAS+ volume.

    Args:
        volume: Shape (right, anterior, superior).
        plane: Which one.
        cut: Where.

    Returns:
        Shape (row, column), the first row at the top and the first column at the left of the picture.
    """
    axis = plane.fixed_axis
    index: list[int | slice] = list(cut.window)
    index[axis] = cut.centre[axis]
    picture: AnyArray = volume[tuple(index)].T[::-1]
    # Axial and coronal pictures begin with right, sagittal ones with anterior: the high ends of their axes.
    return picture[:, ::-1]


def pixel_aspect(plane: Plane, spacing_mm: tuple[float, float, float]) -> float:
    """Height of a pixel over its width, for voxels that are no cubes."""
    across, up = (spacing_mm[axis] for axis in range(3) if axis != plane.fixed_axis)
    return up / across


def grey_window(image: AnyArray) -> tuple[float, float]:
    """Choose black and white: the 1st and 99.5th percentile of the voxels that are not the darkest value.

    The darkest value is left out because many scans are zero outside of the body.
    """
    body = image[image > image.min()]
    if body.size == 0:
        return float(image.min()), float(image.min()) + 1.0
    low, high = np.percentile(body, [1.0, 99.5])
    return float(low if low < high else image.min()), float(high)
