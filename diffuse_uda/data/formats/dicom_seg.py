"""Labels from a DICOM Segmentation: every frame put where its own plane position says.

Frames of a segment that are empty may be left out (PS3.3 A.51), and frames may come in any order, so their number in
the file says nothing. Binary segmentations and label maps are read; a fractional one holds probabilities or occupancy,
and where to cut those is for whoever made them to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_frames import frames_of, open_dicom, well_formed
from diffuse_uda.data.formats.dicom_geometry import LPS_TO_RAS, PLANE_TOLERANCE_VOXELS, Plane
from diffuse_uda.data.volumes import Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSegmentation:
    """A DICOM-SEG as a label source."""

    path: Path
    frame_of_reference: str
    """Of the scan that it was drawn on."""
    numbers: Mapping[str, int]
    """Segment label to number in the label map; other segments are not read."""

    def load(self, image: Volume) -> Volume:
        """Rebuild the label map on the scan's voxels.

        Raises:
            BrokenRuleError: If it is fractional, of another frame of reference, on another grid, or if two of the
                segments that are read overlap.
        """
        with well_formed(self.path):
            return self._rebuilt(open_dicom(self.path, with_pixels=True), image)

    def _rebuilt(self, data: Dataset, image: Volume) -> Volume:
        _require_kind(data)
        require_same_frame_of_reference(str(data.get("FrameOfReferenceUID", "")), self.frame_of_reference)
        number_of = {
            int(segment.SegmentNumber): self.numbers.get(str(segment.get("SegmentLabel", "")).strip(), 0)
            for segment in data.get("SegmentSequence") or []
        }
        label_map = np.zeros(image.shape, dtype=np.uint16)
        for k, segment, pixels in _planes(self.path, data, image):
            if segment is None:  # a label map: the pixel says which segment
                table = np.zeros(int(max(pixels.max(), *number_of, 0)) + 1, dtype=np.uint16)
                for one, number in number_of.items():
                    table[one] = number
                here = table[pixels]
            else:
                here = np.where(pixels > 0, number_of.get(segment, 0), 0)
            _put(label_map[:, :, k], here)
        return Volume(voxels=label_map, affine_mm=image.affine_mm)


def require_same_frame_of_reference(found: str, wanted: str) -> None:
    """Refuse labels that were drawn in another patient space: their positions mean something else.

    Raises:
        BrokenRuleError: If the two differ, or one is not known.
    """
    if not found or found != wanted:
        raise BrokenRuleError(
            "dicom-other-frame-of-reference",
            found=found or "labels without a frame of reference",
            wanted=f"that of the scan, {wanted or '(which has none)'}",
            fix="resample the labels into the scan's space in the tool that registered the two",
        )


def _put(target: npt.NDArray[np.uint16], values: npt.NDArray[Any]) -> None:
    drawn = values > 0
    if bool((drawn & (target > 0) & (target != values)).any()):
        raise BrokenRuleError(
            "dicom-overlapping-segments",
            found="voxels that belong to two segments",
            wanted="one structure for every voxel",
            fix="name the structures to read (--structure NAME), without the one that holds the other",
        )
    target[drawn] = values[drawn]


def _require_kind(data: Dataset) -> None:
    kind = str(data.get("SegmentationType", ""))
    if kind not in {"BINARY", "LABELMAP"}:
        raise BrokenRuleError(
            "dicom-fractional-segmentation",
            found=f"a segmentation of the type {kind or 'unknown'}",
            wanted="BINARY or LABELMAP",
            fix="export it as binary: only its maker knows at which fraction to cut",
        )


def _planes(path: Path, data: Dataset, image: Volume) -> Iterator[tuple[int, int | None, npt.NDArray[Any]]]:
    """Slice of the scan, segment number (None in a label map), and pixels as (i, j)."""
    frames = frames_of(path)
    pixels = data.pixel_array.reshape(-1, int(data.Rows), int(data.Columns))
    is_label_map = data.SegmentationType == "LABELMAP"
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for frame, groups, values in zip(frames, data.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        segment = None
        if not is_label_map:
            identified = groups.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
            segment = int(identified[0].ReferencedSegmentNumber)
        yield slice_of(frame.plane, image), segment, values.T


def slice_of(plane: Plane, image: Volume) -> int:
    """Which slice of a scan a plane is.

    Raises:
        BrokenRuleError: If its pixels are not those of a slice, within a tenth of a voxel.
    """
    i, j, depth = image.shape
    affine_mm = LPS_TO_RAS @ image.affine_mm
    corners = np.array([[0, 0], [plane.num_columns - 1, 0], [0, plane.num_rows - 1]], dtype=np.float64)
    lps = (
        np.array(plane.position_mm)
        + corners[:, :1] * plane.column_mm * np.array(plane.x)
        + corners[:, 1:] * plane.row_mm * np.array(plane.y)
    )
    index = (np.linalg.inv(affine_mm) @ np.column_stack([lps, np.ones(3)]).T)[:3].T
    k = round(float(index[0, 2]))
    off = float(np.abs(index - np.column_stack([corners, np.full(3, k)])).max())
    if (plane.num_columns, plane.num_rows) != (i, j) or off > PLANE_TOLERANCE_VOXELS or not 0 <= k < depth:
        raise BrokenRuleError(
            "dicom-other-grid",
            found=f"a plane of {plane.num_columns} x {plane.num_rows} pixels, {off:.3g} voxels off slice {k}",
            wanted=f"a slice of the scan, {i} x {j}, at most {PLANE_TOLERANCE_VOXELS:g} voxels off",
            fix="resample the segmentation onto the scan's grid, in the tool that drew it",
        )
    return k
