"""A written DICOM segmentation, read by its own numbers alone, against what was meant.

This uses nothing of the library that writes segmentations: the place of every pixel is worked out from the plain
attributes of the file (PS3.3 C.7.6.2.1.1), so a mistake on the way in is not undone by the same mistake on the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from diffuse_uda.data.formats.dicom_geometry import LPS_TO_RAS
from diffuse_uda.data.volumes import SAME_GRID_TOLERANCE_MM, Volume
from diffuse_uda.errors import ReleaseError


def require_same_in_patient_space(file: Path, meant: Volume, images: Sequence[Dataset], *, num_structures: int) -> None:
    """Refuse a segmentation that says something else than the label map it was made from.

    Args:
        file: The written object.
        meant: Classes on the grid of the scan.
        images: What the object has to refer to.
        num_structures: Classes without the background.

    Raises:
        ReleaseError: If a segment is missing, a voxel lies elsewhere or has another class, or the object belongs to
            another frame of reference or study.
    """
    found = pydicom.dcmread(file)
    if (segments := [int(item.SegmentNumber) for item in found.SegmentSequence]) != list(range(1, num_structures + 1)):
        raise _refusal(found=f"segments {segments}", wanted=f"1 to {num_structures}")
    for name in ("FrameOfReferenceUID", "StudyInstanceUID"):
        if found[name].value != images[0][name].value:
            raise _refusal(found=f"another {name} than the scan's", wanted="the scan's own")
    known = {image.SOPInstanceUID for image in images}
    if not (referred := _images_referred_to(found)) or referred - known:
        raise _refusal(
            found=f"{len(referred - known)} references to images that are not the scan's", wanted="references to these"
        )
    seen = _label_map_of(found, meant)
    if not np.array_equal(seen, meant.voxels):
        where = seen != meant.voxels
        index = tuple(int(one) for one in np.argwhere(where)[0])
        raise _refusal(
            found=f"{int(where.sum())} of {where.size} voxels differ, the first at {index}: class {seen[index]}",
            wanted=f"class {meant.voxels[index]} there",
        )


def _label_map_of(found: Dataset, meant: Volume) -> npt.NDArray[np.uint8]:
    """Classes on the grid of `meant`, put there voxel by voxel, by their place in the patient."""
    index_of = np.linalg.inv(meant.affine_mm)
    tolerance = SAME_GRID_TOLERANCE_MM / min(meant.spacing_mm)
    seen = np.zeros(meant.shape, dtype=np.uint8)
    frames = np.asarray(found.pixel_array).reshape(-1, int(found.Rows), int(found.Columns))
    shared = found.SharedFunctionalGroupsSequence[0]
    for pixels, own in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(pixels)
        if rows.size == 0:
            continue
        measures = _group("PixelMeasuresSequence", own, shared)
        directions = np.asarray(_group("PlaneOrientationSequence", own, shared).ImageOrientationPatient, dtype=float)
        corner = np.asarray(_group("PlanePositionSequence", own, shared).ImagePositionPatient, dtype=float)
        between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
        places = (
            corner + columns[:, None] * between_columns * directions[:3] + rows[:, None] * between_rows * directions[3:]
        )
        index = (index_of @ LPS_TO_RAS @ np.column_stack([places, np.ones(rows.size)]).T)[:3].T
        whole = np.rint(index)
        inside = ((whole >= 0) & (whole < np.asarray(meant.shape))).all()
        if not inside or float(np.abs(index - whole).max()) > tolerance:
            raise _refusal(found="pixels that lie on no voxel of the scan", wanted="pixels where the scan's voxels are")
        i, j, k = whole.astype(np.int64).T
        if seen[i, j, k].any():
            raise _refusal(found="voxels that belong to two segments", wanted="one class a voxel")
        seen[i, j, k] = int(_group("SegmentIdentificationSequence", own, shared).ReferencedSegmentNumber)
    return seen


def _group(name: str, own: Dataset, shared: Dataset) -> Dataset:
    """A functional group of one frame, or the one that all frames share."""
    sequence = own.get(name) or shared.get(name)
    if not sequence:
        raise _refusal(found=f"a frame without {name}", wanted="one for every frame")
    item: Dataset = sequence[0]
    return item


def _images_referred_to(found: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for series in found.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }


def _refusal(*, found: str, wanted: str) -> ReleaseError:
    msg = (
        f"the DICOM segmentation, read back, holds {found}; wanted {wanted}. It is not released; take the label map "
        "as NIfTI, and report the series' geometry"
    )
    return ReleaseError(msg)
