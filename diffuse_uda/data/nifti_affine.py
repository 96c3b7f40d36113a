"""The affine of a NIfTI header: found, never invented, and checked to be one.

The sform is believed first, as in the standard's "method 3"; where both transforms are set they must agree, because
half of the common readers believe the other one.
"""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.types import Triple

MAX_FIELD_OF_VIEW_MM = 3000.0
MIN_SPACING_MM = 0.01
SHEAR_TOLERANCE = 2e-3
"""Largest |cosine| between two voxel axes that still counts as a right angle: about 0.1 degree."""
TRANSFORM_TOLERANCE_VOXELS = 0.1
"""How far sform and qform may put one corner apart: a tenth of a voxel cannot matter to a segmentation."""

_FOREIGN_UNITS = {1: "metres", 3: "micrometres"}


def take_absolute_pixdim(header: nib.Nifti1Header) -> tuple[BrokenRuleError, ...]:
    """Replace negative spacings in a header by their absolute values.

    Args:
        header: A NIfTI-1 or NIfTI-2 header; changed in place.

    Returns:
        What was broken about it: `negative-pixdim`, or nothing.
    """
    pixdim = [float(p) for p in header["pixdim"][1:4]]
    if not any(p < 0 for p in pixdim):
        return ()
    for axis, spacing in enumerate(pixdim, start=1):
        header["pixdim"][axis] = abs(spacing)
    return (BrokenRuleError("negative-pixdim", found=f"pixdim {tuple(pixdim)}"),)


def checked_affine(header: nib.Nifti1Header, shape: Triple) -> npt.NDArray[np.float64]:
    """Find the affine of a header and refuse one that is missing, contradictory or no affine.

    Args:
        header: A NIfTI-1 or NIfTI-2 header, unrepaired.
        shape: Voxels along i, j and k.

    Returns:
        Voxel index to world mm (RAS+), 4x4.

    Raises:
        BrokenRuleError: No code set, spacing not positive, not millimetres, NaN, singular, sheared, absurdly large or
            small, or sform and qform disagree.
    """
    _check_pixdim(header)
    candidates: dict[str, npt.NDArray[np.float64]] = {}
    if int(header["sform_code"]) > 0:
        candidates["sform"] = np.asarray(header.get_sform(), dtype=np.float64)
    if int(header["qform_code"]) > 0:
        candidates["qform"] = _qform(header)
    if not candidates:
        raise BrokenRuleError("no-affine", found="sform_code 0 and qform_code 0")
    for name, affine_mm in candidates.items():
        _check_rigid_up_to_spacing(name, affine_mm, shape)
    if len(candidates) == 2:
        _check_transforms_agree(candidates["sform"], candidates["qform"], shape)
    return next(iter(candidates.values()))


def _check_pixdim(header: nib.Nifti1Header) -> None:
    pixdim = [float(p) for p in header["pixdim"][1:4]]
    if not all(math.isfinite(p) and p > 0 for p in pixdim):
        raise BrokenRuleError("bad-pixdim", found=f"pixdim {tuple(pixdim)}")
    units = int(header["xyzt_units"]) & 7
    if units in _FOREIGN_UNITS:
        raise BrokenRuleError("not-millimetres", found=f"lengths in {_FOREIGN_UNITS[units]}")


def _qform(header: nib.Nifti1Header) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except ValueError as error:
        raise BrokenRuleError("bad-affine", found=f"a qform that is no rotation ({error})") from error


def _check_rigid_up_to_spacing(name: str, affine_mm: npt.NDArray[np.float64], shape: Triple) -> None:
    if not np.isfinite(affine_mm).all():
        raise BrokenRuleError("bad-affine", found=f"{name} holds NaN or infinity: {affine_mm.tolist()}")
    spacing_mm = np.linalg.norm(affine_mm[:3, :3], axis=0)
    if spacing_mm.min() <= 0 or abs(np.linalg.det(affine_mm[:3, :3] / spacing_mm)) < 1e-3:
        raise BrokenRuleError(
            "singular-affine",
            found=f"{name} maps the volume onto a plane or a line: {affine_mm[:3, :3].tolist()}",
        )
    axes = affine_mm[:3, :3] / spacing_mm
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine > SHEAR_TOLERANCE:
        raise BrokenRuleError(
            "sheared-affine",
            found=f"{name} has voxel axes at {math.degrees(math.acos(min(cosine, 1.0))):.1f} degrees (gantry tilt?)",
        )
    extent_mm = spacing_mm * np.asarray(shape)
    if spacing_mm.min() < MIN_SPACING_MM or extent_mm.max() > MAX_FIELD_OF_VIEW_MM:
        raise BrokenRuleError(
            "absurd-size",
            found=f"{name} has a spacing of {tuple(spacing_mm.tolist())} mm: {tuple(extent_mm.tolist())} mm in all",
            fix="check the unit of the affine; it must be millimetres",
        )


def _check_transforms_agree(
    sform_mm: npt.NDArray[np.float64], qform_mm: npt.NDArray[np.float64], shape: Triple
) -> None:
    offset_mm = largest_corner_offset_mm(sform_mm, qform_mm, shape)
    allowed_mm = TRANSFORM_TOLERANCE_VOXELS * float(np.linalg.norm(sform_mm[:3, :3], axis=0).min())
    if offset_mm > allowed_mm:
        raise BrokenRuleError(
            "sform-qform-disagree",
            found=f"sform and qform put one corner of the scan {offset_mm:.3g} mm apart",
            wanted=f"at most {allowed_mm:.3g} mm: readers differ in which of the two they believe",
        )


def largest_corner_offset_mm(
    first_mm: npt.NDArray[np.float64], second_mm: npt.NDArray[np.float64], shape: Triple
) -> float:
    """How far apart two affines put the same voxel, at worst.

    The difference of two affines is itself affine, so the largest distance is at a corner of the grid.

    Args:
        first_mm: One affine, voxel index to world mm.
        second_mm: The other affine.
        shape: Voxels along i, j and k.

    Returns:
        Distance in mm, 0 for the same affine.
    """
    last = np.asarray(shape) - 1
    corners = np.array(np.meshgrid(*([0, n] for n in last))).reshape(3, -1)
    difference = first_mm - second_mm
    return float(np.linalg.norm(difference[:3, :3] @ corners + difference[:3, 3:], axis=0).max())
