"""A series of single-frame DICOM images as one volume, with the images that a segmentation of it refers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_frames import frames_of, open_dicom
from diffuse_uda.data.formats.dicom_geometry import stacked
from diffuse_uda.data.formats.dicom_headers import find_dicom
from diffuse_uda.data.formats.dicom_series import DicomSeries
from diffuse_uda.data.volumes import Volume


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReferencedSeries:
    """One series: voxels, and the image that every slice came from."""

    volume: Volume
    """i along the rows of an image, j down its columns, k from slice to slice."""
    slices: tuple[Dataset, ...]
    """Headers of the images in the order of k; whatever the hospital wrote into them is still there."""


def load_series(folder: Path) -> ReferencedSeries:
    """Read the one series below a folder; what is no cross-section of a patient (`find_dicom`) is passed over.

    Args:
        folder: Holds the files of this one series, under any names.

    Raises:
        BrokenRuleError: If there is not exactly one series, or it is no volume (`dicom_geometry.stacked`), or its
            images hold several frames each: a segmentation refers to images.
    """
    if not folder.is_dir():
        raise BrokenRuleError(
            "no-dicom-series",
            found="a single file" if folder.exists() else "no such folder",
            wanted="the folder of a DICOM series: a DICOM segmentation refers to its images",
            fix="give the folder of the series; for a NIfTI scan, --as nifti",
        )
    images = find_dicom(folder).images
    if (num_series := len({image.series for image in images})) != 1:
        raise BrokenRuleError(
            "dicom-several-series" if num_series else "no-dicom-series",
            found=f"{num_series} series of cross-sections in the folder",
            wanted="one series",
            fix="give the folder of a single series",
        )
    files = tuple(sorted(image.path for image in images))
    frames = [frame for file in files for frame in frames_of(file)]
    if len(frames) != len(files):
        raise BrokenRuleError(
            "dicom-image-kind",
            found=f"{len(frames)} frames in {len(files)} files",
            wanted="single-frame images",
            fix="export the original images of the series instead of an enhanced object, or use --as nifti",
        )
    order = stacked([frame.plane for frame in frames]).order
    slices = tuple(open_dicom(frames[index].path, with_pixels=False) for index in order)
    if len({str(image.get("FrameOfReferenceUID", "")) for image in slices} - {""}) != 1:
        raise BrokenRuleError(
            "dicom-other-frame-of-reference",
            found="no frame of reference, or several in one series",
            wanted="one patient space",
            fix="export the series again from its source",
        )
    return ReferencedSeries(volume=DicomSeries(files=files).load(), slices=slices)
