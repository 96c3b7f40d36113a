"""A series of single-frame DICOM images as one volume, with the images that a segmentation of it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's patient axes grow to the left and to the back (PS3.3 C.7.6.2.1.1), ours to the right and to the front."""
POSITION_TOLERANCE_MM = 0.01
"""How far a slice may lie from where even steps along the normal put it."""

_SAME = ("SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DicomSeries:
    """One series: voxels, and the image that every slice came from."""

    volume: Volume
    """i along the rows of an image, j down its columns, k from slice to slice."""
    slices: tuple[Dataset, ...]
    """Images in the order of k; whatever the hospital wrote into them is still there."""


def load_series(folder: Path) -> DicomSeries:
    """Read a clean series: one image a file, the same size and direction in all, even steps between them.

    Args:
        folder: Holds the files of this one series and nothing else (hidden files and DICOMDIR are passed over).

    Raises:
        BrokenRuleError: With the rule that the series breaks.
    """
    if not folder.is_dir():
        raise BrokenRuleError(
            "no-dicom-series",
            found="a single file" if folder.exists() else "no such folder",
            wanted="the folder of a DICOM series: a DICOM segmentation refers to its images",
            fix="give the folder of the series; for a NIfTI scan, --as nifti",
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    images = [_read_image(path) for path in files if path.name.upper() != "DICOMDIR"]
    if len(images) < 2:
        raise BrokenRuleError(
            "dicom-series-too-short",
            found=f"{len(images)} DICOM images in the folder",
            wanted="the images of one series, two or more",
            fix="give the folder that holds one whole series",
        )
    _require_one_series(images)
    slices, affine_mm = _stacked(images)
    voxels = np.stack([_values(image) for image in slices]).transpose(2, 1, 0)
    return DicomSeries(volume=Volume(voxels=np.ascontiguousarray(voxels), affine_mm=affine_mm), slices=tuple(slices))


def _read_image(path: Path) -> Dataset:
    try:
        image = pydicom.dcmread(path)
    except (InvalidDicomError, OSError) as error:
        raise BrokenRuleError(
            "not-dicom",
            found=f"{path.name}: {type(error).__name__}",
            wanted="only DICOM images in the folder of a series",
            fix="take the file out, or copy it again from the PACS",
        ) from error
    missing = [name for name in (*_SAME, "ImagePositionPatient", "SOPInstanceUID", "PixelData") if name not in image]
    if missing or int(image.get("NumberOfFrames") or 1) != 1 or int(image.get("SamplesPerPixel", 1)) != 1:
        raise BrokenRuleError(
            "dicom-image-kind",
            found=f"{path.name}: no {', '.join(missing)}" if missing else f"{path.name}: several frames, or colours",
            wanted="single-frame grey images with their place in the patient",
            fix="export the original images of the series, not a capture or an enhanced object",
        )
    return image


def _require_one_series(images: Sequence[Dataset]) -> None:
    for name in _SAME:
        values = {str(image[name].value) for image in images}
        if len(values) > 1:
            raise BrokenRuleError(
                "mixed-series",
                found=f"{len(values)} different values of {name} in one folder",
                wanted="one series",
                fix="give the folder of a single series",
            )


def _stacked(images: Sequence[Dataset]) -> tuple[list[Dataset], npt.NDArray[np.float64]]:
    """Images in the order of k, and the affine of the volume that they make."""
    along_row, down_column = np.asarray(images[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    if abs(float(along_row @ down_column)) > 1e-3 or abs(float(np.linalg.norm(along_row)) - 1.0) > 1e-3:
        raise _uneven(found=f"ImageOrientationPatient {list(images[0].ImageOrientationPatient)}")
    normal = np.cross(along_row, down_column)
    ordered = sorted(images, key=lambda image: float(np.asarray(image.ImagePositionPatient, dtype=np.float64) @ normal))
    places = np.asarray([image.ImagePositionPatient for image in ordered], dtype=np.float64)
    step = (places[-1] - places[0]) / (len(places) - 1)
    spacing_mm = float(step @ normal)
    wanted = places[0] + np.arange(len(places))[:, None] * spacing_mm * normal
    offset_mm = float(np.linalg.norm(places - wanted, axis=1).max())
    if spacing_mm <= 0 or not offset_mm <= POSITION_TOLERANCE_MM:
        raise _uneven(
            found=f"a slice {offset_mm:.3g} mm from where steps of {spacing_mm:.4g} mm along the normal put it"
        )
    between_rows, between_columns = (float(value) for value in images[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = down_column * between_rows
    affine[:3, 2] = normal * spacing_mm
    affine[:3, 3] = places[0]
    return ordered, LPS_TO_RAS @ affine


def _uneven(*, found: str) -> BrokenRuleError:
    return BrokenRuleError(
        "uneven-slices",
        found=found,
        wanted="right angles and even steps (no gantry tilt, gap, or doubled slice)",
        fix="export the whole series again, or resample it onto a rectangular grid first",
    )


def _values(image: Dataset) -> npt.NDArray[np.float32]:
    slope, intercept = float(image.get("RescaleSlope") or 1.0), float(image.get("RescaleIntercept") or 0.0)
    return (image.pixel_array.astype(np.float64) * slope + intercept).astype(np.float32)
