"""Where the planes of a DICOM series are in the patient, and whether together they are a volume.

DICOM PS3.3 C.7.6.2.1.1: the centre of the pixel in column c and row r of a plane is `position + c * column_mm * x +
r * row_mm * y` in LPS, where x and y are the first and second triple of Image Orientation (Patient), and Pixel Spacing
gives the distance between rows first. Here i is the column, j the row, and k counts the planes along x cross y, as in
ITK and NIfTI, so no pixel is moved. RAS is LPS with the first two axes reversed, which is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.types import Triple

Affine = npt.NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLANE_TOLERANCE_VOXELS = 0.1
"""How far a plane may be from where an even stack would have it, as a share of the gap."""
AXIS_TOLERANCE = 2e-3
"""Largest |cosine| between two axes that still counts as a right angle: about 0.1 degree."""
SAME_AXIS_TOLERANCE = 1e-4
"""Largest difference in a direction cosine between planes that count as parallel; files round to six digits."""
SAME_SPACING_TOLERANCE = 1e-4
"""Relative difference of pixel spacings that count as the same."""
DUPLICATE_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """One image of a series."""

    position_mm: tuple[float, float, float]
    """Centre of the first pixel, LPS."""
    x: tuple[float, float, float]
    """Direction in which the column index grows."""
    y: tuple[float, float, float]
    """Direction in which the row index grows."""
    row_mm: float
    """Between rows, along `y`."""
    column_mm: float
    """Between columns, along `x`."""
    num_rows: int
    num_columns: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stack:
    """Planes as a volume."""

    order: tuple[int, ...]
    """Index of the plane that is slice k, for every k."""
    shape: Triple
    """Columns, rows, planes."""
    affine_mm: Affine
    """Index (i, j, k) to world mm (RAS+)."""


def stacked(planes: Sequence[Plane]) -> Stack:
    """Order planes and find the affine of the volume they make.

    Args:
        planes: In any order.

    Returns:
        The order along the normal, and the affine.

    Raises:
        BrokenRuleError: If they differ in size, spacing or orientation; if a plane is missing or there twice; if gaps
            are uneven; if the stack leans (gantry tilt).
    """
    first = planes[0]
    _require_alike(planes)
    x, y = np.array(first.x), np.array(first.y)
    if abs(float(x @ y)) > AXIS_TOLERANCE or max(abs(float(v @ v) - 1.0) for v in (x, y)) > 1e-3:
        raise _no_volume(
            "dicom-bad-orientation",
            f"Image Orientation (Patient) {first.x + first.y}",
            "two unit vectors at a right angle",
            "export the series again from its source",
        )
    normal = np.cross(x, y)
    positions = np.array([plane.position_mm for plane in planes])
    heights: npt.NDArray[np.float64] = positions @ normal
    order: npt.NDArray[np.int64] = np.argsort(heights, kind="stable")
    if len(planes) < 2:
        raise _no_volume(
            "dicom-single-slice",
            "one plane",
            "at least two: the distance between planes is measured, not believed",
            "name the series that is meant",
        )
    _require_even(heights[order])
    step = (positions[order[-1]] - positions[order[0]]) / (len(planes) - 1)
    _require_upright(step, normal)
    _require_straight(positions[order], step)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = x * first.column_mm, y * first.row_mm, step
    lps[:3, 3] = positions[order[0]]
    return Stack(
        order=tuple(int(index) for index in order),
        shape=(first.num_columns, first.num_rows, len(planes)),
        affine_mm=LPS_TO_RAS @ lps,
    )


def _no_volume(rule: str, found: str, wanted: str, fix: str) -> BrokenRuleError:
    return BrokenRuleError(rule, found=found, wanted=wanted, fix=fix)


def _require_alike(planes: Sequence[Plane]) -> None:
    sizes = sorted({(plane.num_columns, plane.num_rows) for plane in planes})
    if len(sizes) > 1:
        raise _no_volume(
            "dicom-mixed-sizes",
            f"planes of {', '.join(f'{columns} x {rows}' for columns, rows in sizes[:4])} pixels",
            "one size",
            "take images of another kind out of the series (a localizer, a screen shot)",
        )
    spacings = np.array([(plane.column_mm, plane.row_mm) for plane in planes])
    if not (np.isfinite(spacings).all() and (spacings > 0).all()):
        raise _no_volume("dicom-no-geometry", "a Pixel Spacing that is not positive", "mm", "export the series again")
    if float((np.ptp(spacings, axis=0) / spacings.min(axis=0)).max()) > SAME_SPACING_TOLERANCE:
        low, high = spacings.min(axis=0), spacings.max(axis=0)
        raise _no_volume(
            "dicom-mixed-spacings",
            f"pixels from {low[0]:g} x {low[1]:g} to {high[0]:g} x {high[1]:g} mm",
            "one pixel spacing",
            "take images of another kind out of the series",
        )
    axes = np.array([plane.x + plane.y for plane in planes])
    if float(np.ptp(axes, axis=0).max()) > SAME_AXIS_TOLERANCE:
        kinds = np.unique(np.round(axes, 3), axis=0)
        raise _no_volume(
            "dicom-mixed-orientations",
            f"{len(kinds)} orientations in one series",
            "parallel planes",
            "take a localizer or a second stack out, or name the series that is meant",
        )


def _require_even(heights: npt.NDArray[np.float64]) -> None:
    """Heights ascend."""
    gaps = np.diff(heights)
    twice = int((gaps < DUPLICATE_TOLERANCE_MM).sum())
    if twice:
        distinct = len(heights) - twice
        several = f"{len(heights) / distinct:g} images at every position" if len(heights) % distinct == 0 else ""
        raise _no_volume(
            "dicom-duplicate-slice",
            several or f"{twice} positions with more than one image",
            "one image at every position",
            "a series of several phases, echoes or repetitions: export the one that is meant as a series of its own",
        )
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > PLANE_TOLERANCE_VOXELS * usual)
    if not len(odd):
        return
    ratios = gaps[odd] / usual
    where = f"after {heights[odd[0]]:.2f} mm along the normal"
    if bool((np.abs(ratios - np.rint(ratios)) <= PLANE_TOLERANCE_VOXELS).all()) and float(ratios.min()) > 1.5:
        missing = int((np.rint(ratios) - 1).sum())
        raise _no_volume(
            "dicom-missing-slice",
            f"{missing} of {len(heights) + missing} slices missing, the first {where}; others are {usual:.3g} mm apart",
            "every slice",
            "export the series again; check that the transfer was complete",
        )
    raise _no_volume(
        "dicom-uneven-gaps",
        f"gaps from {gaps.min():.4g} to {gaps.max():.4g} mm, the first odd one {where}",
        f"gaps within {PLANE_TOLERANCE_VOXELS:.0%} of one another",
        "a stack of two parts, or slices of several thicknesses: export an evenly spaced reconstruction",
    )


def _require_upright(step: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]) -> None:
    upright = float(step @ normal)
    sideways = float(np.linalg.norm(step - upright * normal))
    if sideways > AXIS_TOLERANCE * float(np.linalg.norm(step)):
        raise _no_volume(
            "dicom-gantry-tilt",
            f"planes that are stacked at {np.degrees(np.arctan2(sideways, upright)):.1f} degrees to their normal",
            "planes straight above one another",
            "correct the gantry tilt (resample) where the scan was made; a sheared grid distorts every distance",
        )


def _require_straight(positions: npt.NDArray[np.float64], step: npt.NDArray[np.float64]) -> None:
    even = positions[0] + np.arange(len(positions))[:, None] * step
    off_mm = np.linalg.norm(positions - even, axis=1)
    gap_mm = float(np.linalg.norm(step))
    if float(off_mm.max()) > PLANE_TOLERANCE_VOXELS * gap_mm:
        raise _no_volume(
            "dicom-uneven-gaps",
            f"plane {int(off_mm.argmax())} is {off_mm.max():.3g} mm from where an even stack has it",
            f"at most {PLANE_TOLERANCE_VOXELS * gap_mm:.3g} mm",
            "export an evenly spaced reconstruction",
        )
