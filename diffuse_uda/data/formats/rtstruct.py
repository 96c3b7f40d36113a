"""Labels from an RT Structure Set: closed planar contours, filled on the scan's voxels.

In-plane convention: contour points are in mm, and (i, j) is the centre of a voxel, as DICOM places it; a voxel belongs
to a region if its centre lies inside the contour (scikit-image's `polygon2mask`, half-open at the border). So a square
drawn half a voxel outside the centres of n x n voxels gives exactly these. Contours of one region on one slice are
joined by exclusive or: a contour inside another one is a hole, as the keyhole technique has it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from skimage.draw import polygon2mask

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_frames import open_dicom, well_formed
from diffuse_uda.data.formats.dicom_geometry import LPS_TO_RAS, PLANE_TOLERANCE_VOXELS
from diffuse_uda.data.formats.dicom_seg import require_same_frame_of_reference
from diffuse_uda.data.volumes import Volume

Points = npt.NDArray[np.float64]
_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"}


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureSet:
    """An RTSTRUCT as a label source."""

    path: Path
    frame_of_reference: str
    """Of the scan that it was drawn on."""
    numbers: Mapping[str, int]
    """Name of the region to number in the label map; other regions are not read."""

    def load(self, image: Volume) -> Volume:
        """Fill the contours on the scan's voxels.

        Raises:
            BrokenRuleError: If a contour is open, crosses itself, lies between two slices or outside the scan, if two
                regions overlap, or if the scan has another frame of reference.
        """
        with well_formed(self.path):
            return self._drawn(open_dicom(self.path, with_pixels=False), image)

    def _drawn(self, data: Dataset, image: Volume) -> Volume:
        names = {int(roi.ROINumber): roi for roi in data.get("StructureSetROISequence") or []}
        label_map = np.zeros(image.shape, dtype=np.uint16)
        for region in data.get("ROIContourSequence") or []:
            roi = names.get(int(region.ReferencedROINumber))
            number = 0 if roi is None else self.numbers.get(str(roi.get("ROIName", "")).strip(), 0)
            if roi is None or number == 0:
                continue
            require_same_frame_of_reference(str(roi.get("ReferencedFrameOfReferenceUID", "")), self.frame_of_reference)
            drawn = _filled(region, image)
            if bool((drawn & (label_map > 0)).any()):
                raise BrokenRuleError(
                    "dicom-overlapping-segments",
                    found=f"voxels of {roi.ROIName!r} that belong to another region as well",
                    wanted="one structure for every voxel",
                    fix="name the structures to read (--structure NAME), without the one that holds the other",
                )
            label_map[drawn] = number
        return Volume(voxels=label_map, affine_mm=image.affine_mm)


def _filled(region: Dataset, image: Volume) -> npt.NDArray[np.bool_]:
    drawn = np.zeros(image.shape, dtype=bool)
    for number, contour in enumerate(region.get("ContourSequence") or [], start=1):
        points = _points(contour, number)
        index = _on_voxels(points, image)
        k = round(float(np.mean(index[:, 2])))
        off = float(np.abs(index[:, 2] - k).max())
        if off > PLANE_TOLERANCE_VOXELS or not 0 <= k < image.shape[2]:
            raise BrokenRuleError(
                "dicom-contour-off-slice",
                found=f"contour {number} is {off:.2g} slices from slice {k} of {image.shape[2]}",
                wanted=f"contours on the scan's slices, at most {PLANE_TOLERANCE_VOXELS:g} off",
                fix="contour on this series, or export a segmentation on its grid",
            )
        if crosses_itself(index[:, :2]):
            raise BrokenRuleError(
                "dicom-contour-crosses-itself",
                found=f"contour {number}, on slice {k}, crosses itself",
                wanted="contours with an inside and an outside",
                fix="redraw it; every tool would fill it differently",
            )
        drawn[:, :, k] ^= polygon2mask(image.shape[:2], index[:, :2])
    return drawn


def _points(contour: Dataset, number: int) -> Points:
    kind = str(contour.get("ContourGeometricType", ""))
    points = np.asarray([float(value) for value in contour.get("ContourData") or []], dtype=np.float64)
    if kind not in _CLOSED or len(points) < 9 or len(points) % 3 or not np.isfinite(points).all():
        raise BrokenRuleError(
            "dicom-open-contour",
            found=f"contour {number} is {kind or 'of no type'} with {len(points) / 3:g} points",
            wanted="CLOSED_PLANAR with three points or more",
            fix="close it in the tool that drew it; points and open lines have no inside",
        )
    return points.reshape(-1, 3)


def _on_voxels(points: Points, image: Volume) -> Points:
    """LPS mm to voxel index."""
    inverse = np.linalg.inv(LPS_TO_RAS @ image.affine_mm)
    index: Points = points @ inverse[:3, :3].T + inverse[:3, 3]
    return index


def crosses_itself(points: Points) -> bool:
    """Whether two edges of a closed polygon cross properly; edges that touch or lie on each other (keyholes) do not.

    Args:
        points: Corners in the plane, shape (corner, 2).
    """
    start, end = points, np.roll(points, -1, axis=0)
    return any(_crossed(start[n], end[n], start[n + 1 :], end[n + 1 :]) for n in range(len(points) - 1))


def _crossed(a: Points, b: Points, starts: Points, ends: Points) -> bool:
    """Whether the edge a-b and any of the others lie on both sides of each other."""
    scale = max(float(np.abs(np.concatenate([starts, ends, a[None], b[None]])).max()), 1.0)
    slack = 1e-9 * scale**2
    first, second = _side(a, b, starts), _side(a, b, ends)
    third, fourth = _sides(starts, ends, a), _sides(starts, ends, b)
    across = ((first > slack) & (second < -slack)) | ((first < -slack) & (second > slack))
    along = ((third > slack) & (fourth < -slack)) | ((third < -slack) & (fourth > slack))
    return bool((across & along).any())


def _side(a: Points, b: Points, points: Points) -> npt.NDArray[np.float64]:
    doubled_area: Points = (b[0] - a[0]) * (points[:, 1] - a[1]) - (b[1] - a[1]) * (points[:, 0] - a[0])
    return doubled_area


def _sides(starts: Points, ends: Points, point: Points) -> npt.NDArray[np.float64]:
    along = ends - starts
    doubled_area: Points = along[:, 0] * (point[1] - starts[:, 1]) - along[:, 1] * (point[0] - starts[:, 0])
    return doubled_area
