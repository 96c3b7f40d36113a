"""What the DICOM files below a folder are, found in them and never in their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    EnhancedMRColorImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from diffuse_uda.data.formats.files_below import files_below

LABELMAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "Rows",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
    "SegmentSequence",
    "StructureSetROISequence",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """One file of a series. Everything but the path stays in this process."""

    path: Path
    instance: str
    patient: str
    study: str
    series: str
    description: str
    modality: str
    frame_of_reference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotationFile:
    """A DICOM-SEG or an RTSTRUCT."""

    path: Path
    instance: str
    series: frozenset[str]
    """Series that it was drawn on."""
    structures: tuple[str, ...]
    """Labels of its segments, or names of its regions, as they are written."""
    is_segmentation: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFiles:
    """What there is below a folder."""

    images: tuple[ImageFile, ...]
    annotations: tuple[AnnotationFile, ...]
    left_out: Counter[str]
    """Reason to number of files."""


def find_dicom(root: Path, *, progress: Callable[[int], None] = lambda count: None) -> FoundFiles:  # noqa: ARG005
    """Look into every file below a folder.

    Args:
        root: An existing folder.
        progress: Told the number of files, now and then.

    Returns:
        Images of cross-sections and annotations; the same object in two files counts once.
    """
    images: list[ImageFile] = []
    annotations: list[AnnotationFile] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for count, path in enumerate(files_below(root), start=1):
        if count % 1000 == 0:
            progress(count)
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        except (InvalidDicomError, OSError, ValueError, EOFError, KeyError, NotImplementedError):
            left_out["no DICOM file"] += 1
            continue
        instance = str(header.get("SOPInstanceUID", path))
        reason = _reason_to_leave_out(header)
        if reason is None and instance in seen:
            reason = "copy of an object that is there already"
        if reason is not None:
            left_out[reason] += 1
            continue
        seen.add(instance)
        if _is_annotation(header):
            annotations.append(_annotation(path, instance, header))
        else:
            images.append(_image(path, instance, header))
    return FoundFiles(images=tuple(images), annotations=tuple(annotations), left_out=left_out)


def _is_annotation(header: Dataset) -> bool:
    return header.get("SOPClassUID") in {SegmentationStorage, LABELMAP_SEGMENTATION_STORAGE, RTStructureSetStorage}


def _reason_to_leave_out(header: Dataset) -> str | None:
    if _is_annotation(header):
        return None
    kinds = {str(kind).upper() for kind in header.get("ImageType") or []}
    has_place = "ImageOrientationPatient" in header or "SharedFunctionalGroupsSequence" in header
    reasons = {
        "no image (a report, a directory, a presentation state)": "Rows" not in header,
        "secondary capture": str(header.get("SOPClassUID", "")).startswith(SecondaryCaptureImageStorage),
        "colour image": header.get("SOPClassUID") == EnhancedMRColorImageStorage,
        "localizer": bool(kinds & {"LOCALIZER", "SCOUT"}),
        "image without a place in the patient (a projection, a screen shot)": not has_place,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)


def _image(path: Path, instance: str, header: Dataset) -> ImageFile:
    study = str(header.get("StudyInstanceUID", ""))
    # The id alone where there is one: a name is spelt in many ways, and one person must not become two.
    patient = str(header.get("PatientID", "")) or str(header.get("PatientName", ""))
    return ImageFile(
        path=path,
        instance=instance,
        patient=patient or study,
        study=study,
        series=str(header.get("SeriesInstanceUID", "")),
        description=str(header.get("SeriesDescription", "")),
        modality=str(header.get("Modality", "")),
        frame_of_reference=str(header.get("FrameOfReferenceUID", "")),
    )


def _annotation(path: Path, instance: str, header: Dataset) -> AnnotationFile:
    is_segmentation = header.SOPClassUID != RTStructureSetStorage
    if is_segmentation:
        referenced = header.get("ReferencedSeriesSequence") or []
        names = [str(one.get("SegmentLabel", "")) for one in header.get("SegmentSequence") or []]
    else:
        referenced = [
            series
            for frame in header.get("ReferencedFrameOfReferenceSequence") or []
            for study in frame.get("RTReferencedStudySequence") or []
            for series in study.get("RTReferencedSeriesSequence") or []
        ]
        names = [str(one.get("ROIName", "")) for one in header.get("StructureSetROISequence") or []]
    return AnnotationFile(
        path=path,
        instance=instance,
        series=frozenset(str(one.SeriesInstanceUID) for one in referenced),
        structures=tuple(name.strip() for name in names),
        is_segmentation=is_segmentation,
    )
