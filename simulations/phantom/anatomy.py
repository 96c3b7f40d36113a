"""From a subject to tissue fractions and a label map on a voxel grid.

Everything is evaluated on a finer grid with soft edges and then averaged: voxels at a border hold several tissues.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Spacing, Triple
from simulations.phantom.shapes import Field, Points, Vector, ellipsoid, sum_of_products
from simulations.phantom.structures import Tissue, tissue_shapes
from simulations.phantom.subjects import Subject

LABELS: dict[str, int] = {
    "background": 0,
    "cortical_gm": 1,
    "white_matter": 2,
    "ventricles": 3,
    "deep_gm": 4,
    "cerebellum": 5,
    "brainstem": 6,
}
"""Names and numbers of the structures, as `dataset.json` lists them."""

LABEL_OF_TISSUE: dict[Tissue, int] = {
    Tissue.AIR: LABELS["background"],
    Tissue.CSF: LABELS["background"],
    Tissue.BRAINSTEM: LABELS["brainstem"],
    Tissue.CEREBELLAR_GM: LABELS["cerebellum"],
    Tissue.CEREBELLAR_WM: LABELS["cerebellum"],
    Tissue.CORTICAL_GM: LABELS["cortical_gm"],
    Tissue.WHITE_MATTER: LABELS["white_matter"],
    Tissue.DEEP_GM: LABELS["deep_gm"],
    Tissue.VENTRICULAR_CSF: LABELS["ventricles"],
}


HEAD_RADII_MM: Vector = (82.0, 98.0, 84.0)
"""Nothing but air lies outside this ellipsoid of the upright head, so nothing is computed there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Voxels of a scan whose centre is the origin of the scanner, axes along right, front and top (RAS+)."""

    shape: Triple = (32, 40, 32)
    spacing_mm: Spacing = (5.0, 5.0, 5.0)

    def __post_init__(self) -> None:
        """Refuse grids that hold no voxel, or voxels without a size."""
        if min(self.shape) < 1 or not all(0.0 < step < np.inf for step in self.spacing_mm):
            msg = (
                f"grid of shape {self.shape} and spacing {self.spacing_mm} mm is empty: "
                "wanted at least one voxel and a finite size above 0 mm along each axis"
            )
            raise ConfigError(msg)

    @property
    def affine_mm(self) -> npt.NDArray[np.float64]:
        """Take voxel indices (i, j, k) to world mm (RAS+)."""
        affine_mm = np.diag([*self.spacing_mm, 1.0])
        affine_mm[:3, 3] = [-0.5 * (size - 1) * step for size, step in zip(self.shape, self.spacing_mm, strict=True)]
        return affine_mm

    def points(self, *, oversampling: int = 1) -> Points:
        """World coordinates of the centres of `oversampling`^3 equal parts of each voxel."""
        axes = [
            ((np.arange(size * oversampling) + 0.5) / oversampling - 0.5 * size) * step
            for size, step in zip(self.shape, self.spacing_mm, strict=True)
        ]
        x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij")
        return x, y, z


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """One subject on one grid."""

    fractions: dict[Tissue, npt.NDArray[np.float32]]
    """Share of each voxel that each tissue fills; the shares add up to 1."""
    label_map: npt.NDArray[np.uint8]
    """Structure that fills most of each voxel, by the numbers in `LABELS`."""


def render_anatomy(subject: Subject, grid: Grid, *, oversampling: int = 2) -> Anatomy:
    """Paint a subject onto a grid.

    Args:
        subject: The person.
        grid: Where to look. Structures outside it are cut off.
        oversampling: Samples along each axis of a voxel; 1 is enough for previews.

    Returns:
        Tissue fractions and the label map, both of the grid's shape.
    """
    x, y, z = _upright(grid.points(oversampling=oversampling), subject)
    head = ellipsoid((x, y, z), centre_mm=(0, -2, -6), radii_mm=HEAD_RADII_MM) < 0.0
    shapes = tissue_shapes(subject, _bent((x[head], y[head], z[head]), subject))
    edge_mm = np.float32(min(grid.spacing_mm) / oversampling)
    painted: dict[Tissue, Field] = {}
    for tissue, shape in shapes.items():
        covered = np.clip(0.5 - shape / edge_mm, 0.0, 1.0)
        visible = 1.0 - covered
        for below in painted:
            painted[below] *= visible
        painted[tissue] = covered
    fractions: dict[Tissue, Field] = {}
    for tissue, values in painted.items():
        fine = np.zeros(head.shape, np.float32)
        fine[head] = values
        fractions[tissue] = _average_blocks(fine, oversampling)
    fractions[Tissue.AIR] = np.maximum(1.0 - sum(fractions.values(), np.zeros(grid.shape, np.float32)), 0.0)
    by_label = np.zeros((len(LABELS), *grid.shape), np.float32)
    for tissue, values in fractions.items():
        by_label[LABEL_OF_TISSUE[tissue]] += values
    return Anatomy(fractions=fractions, label_map=by_label.argmax(axis=0).astype(np.uint8))


def _upright(points: Points, subject: Subject) -> Points:
    """Undo the pose and the size of the head."""
    pitch, roll, yaw = subject.rotation_rad
    rotation = _rotation(0, pitch) @ _rotation(1, roll) @ _rotation(2, yaw)
    inverse = np.diag(1.0 / np.asarray(subject.scale)) @ rotation.T
    offset = -inverse @ np.asarray(subject.translation_mm)
    x, y, z = (
        sum_of_products(points, [np.float32(weight) for weight in row]) + np.float32(shift)
        for row, shift in zip(inverse, offset, strict=True)
    )
    return x, y, z


def _bent(points: Points, subject: Subject) -> Points:
    """Add the subject's own smooth displacement."""
    bend = np.float32(subject.warp_mm)
    x, y, z = (axis + bend * waves(points) for axis, waves in zip(points, subject.warp, strict=True))
    return x, y, z


def _rotation(axis: int, angle_rad: float) -> npt.NDArray[np.float64]:
    """Right-handed rotation about one axis."""
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = np.cos(angle_rad)
    matrix[second, first] = np.sin(angle_rad)
    matrix[first, second] = -matrix[second, first]
    return matrix


def _average_blocks(values: Field, size: int) -> Field:
    """Mean over blocks of `size`^3 samples."""
    # Strided sums are several times faster here than the mean over three short axes of a reshaped array.
    for axis in range(3):
        values = np.moveaxis(values, axis, 0)
        values = np.moveaxis(sum(values[part::size] for part in range(1, size)) + values[::size], 0, axis)
    return np.ascontiguousarray(values / np.float32(size**3))
