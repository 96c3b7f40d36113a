"""DICOM series of a volume, one file a slice, under names and in an order that say nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

from diffuse_uda.data.volumes import Volume
from tests.planted import PATIENT

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class SeriesTags:
    """Who and what the series is."""

    modality: str = "CT"
    study: str = "1.2.3"
    series: str = "1.2.3.1"
    frame_of_reference: str = "1.2.3.9"
    patient: str = PATIENT
    description: str = "abdomen"
    slope: float = 1.0
    intercept: float = 0.0


def write_series(
    folder: Path,
    image: Volume,
    tags: SeriesTags = SeriesTags(),
    *,
    names: Callable[[int], str] | None = None,
    change: Callable[[FileDataset, int], object] | None = None,
) -> list[Path]:
    """Write one file a slice.

    Args:
        folder: Made if missing.
        image: Values after the modality transform; stored as int16 before it.
        tags: Who and what.
        names: File name of slice k; by default one that is in no order.
        change: Spoils the file of slice k before it is written.

    Returns:
        File of every slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = _LPS @ image.affine_mm
    column_mm, row_mm, slice_mm = np.linalg.norm(lps[:3, :3], axis=0)
    files = []
    for k in range(image.shape[2]):
        name = names(k) if names else f"IM{(k * 7 + 3) % 1000:03d}_{tags.series[-4:]}"
        data = _slice(tags, f"{tags.series}.{k + 1}")
        data.ImageOrientationPatient = [*(lps[:3, 0] / column_mm), *(lps[:3, 1] / row_mm)]
        data.ImagePositionPatient = list(lps[:3, :3] @ [0, 0, k] + lps[:3, 3])
        data.PixelSpacing, data.SliceThickness, data.InstanceNumber = [row_mm, column_mm], slice_mm, k + 1
        stored = (image.voxels[:, :, k].T - tags.intercept) / tags.slope
        data.Rows, data.Columns = stored.shape
        data.PixelData = np.rint(stored).astype("<i2").tobytes()
        if change is not None:
            change(data, k)
        path = folder / name
        data.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def _slice(tags: SeriesTags, instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage if tags.modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(instance)
    data = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, instance
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = (
        tags.patient,
        tags.patient,
        "19700101",
        "O",
    )
    data.InstitutionName, data.ImageComments, data.AccessionNumber = PATIENT, PATIENT, PATIENT[:16]
    data.StudyInstanceUID, data.SeriesInstanceUID, data.StudyID = tags.study, tags.series, "1"
    data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "20200102", "120000", PATIENT
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = tags.frame_of_reference, ""
    data.Modality, data.SeriesDescription, data.SeriesNumber = tags.modality, tags.description, 1
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = tags.slope, tags.intercept
    return data


def write_structure_set(
    path: Path,
    image: Volume,
    contours: dict[str, list[np.ndarray]],
    tags: SeriesTags = SeriesTags(),
    *,
    kind: str = "CLOSED_PLANAR",
) -> Path:
    """Write an RTSTRUCT.

    Args:
        path: Where to.
        image: The scan that contours are drawn on.
        contours: Region to contours, each as voxel indices (point, i j k).
        tags: Those of the scan's series.
        kind: Contour Geometric Type of all of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _slice(tags, generate_uid(entropy_srcs=[str(path)]))
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    data.Modality, data.SeriesInstanceUID = "RTSTRUCT", tags.series + ".77"
    for name in ("Rows", "Columns", "PixelData", "SamplesPerPixel", "PhotometricInterpretation", "FrameOfReferenceUID"):
        data.pop(name, None)
    series = Dataset()
    series.SeriesInstanceUID = tags.series
    study = Dataset()
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = tags.frame_of_reference, [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    lps = _LPS @ image.affine_mm
    for number, (name, drawn) in enumerate(contours.items(), start=1):
        roi, region = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, tags.frame_of_reference
        region.ReferencedROINumber, region.ContourSequence = number, []
        for points in drawn:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            mm = points @ lps[:3, :3].T + lps[:3, 3]
            contour.ContourData = [f"{value:.6f}" for value in mm.ravel()]
            region.ContourSequence.append(contour)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(region)
    data.save_as(path, enforce_file_format=True)
    return path


def box_contours(box: tuple[slice, slice, slice]) -> list[np.ndarray]:
    """Rectangles half a voxel outside the outermost centres of a box, one a slice."""
    i, j, k = box
    corners = [(i.start, j.start), (i.stop, j.start), (i.stop, j.stop), (i.start, j.stop)]
    return [np.array([(a - 0.5, b - 0.5, depth) for a, b in corners]) for depth in range(k.start, k.stop)]
