"""What a segmentation takes over from the images it was made of: a list, and nothing beside it.

A PACS files an object by patient and study, and a viewer lays it over the images by their UIDs; so these have to be
carried. Everything else a scanner or a person wrote (comments, descriptions, institution, physicians, protocol, private
elements) stays behind: the images that the writer sees are made anew from the list below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from diffuse_uda.export.dicom_source import ReferencedSeries

PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber")
PLACES = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
"""Which study, series, frame of reference and image; replaced by unrelated ones where nobody shall be recognised."""
FORM = ("SOPClassUID", "SpecificCharacterSet")
GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")

CARRIED = (*PATIENT, *STUDY, *PLACES, *FORM, *GEOMETRY)
"""Everything that goes from an image into the segmentation of it."""

_FORMS = {
    "PatientBirthDate": re.compile(r"\d{8}"),
    "StudyDate": re.compile(r"\d{8}"),
    "StudyTime": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
    "PatientSex": re.compile(r"[MFO]"),
}

NewUid = Callable[[str], str]
"""Gives a new UID for an old one, the same for the same."""


def carried_images(series: ReferencedSeries) -> list[Dataset]:
    """The series' images with what is on the list, and with nothing else."""
    return [_carried(image, series, lambda uid: uid, names=(*PATIENT, *STUDY)) for image in series.slices]


def anonymous_images(series: ReferencedSeries, secret: bytes) -> list[Dataset]:
    """The images without anything of patient and study, under UIDs that lead nowhere.

    Args:
        series: What was segmented.
        secret: Random bytes, forgotten afterwards; without them the new UIDs cannot be traced to the old ones.
    """
    return [_carried(image, series, lambda uid: _unrelated(uid, secret), names=()) for image in series.slices]


def _unrelated(uid: str, secret: bytes) -> str:
    return str(generate_uid(entropy_srcs=[secret.hex(), uid]))


def _carried(image: Dataset, series: ReferencedSeries, new_uid: NewUid, *, names: Sequence[str]) -> Dataset:
    copy = Dataset()
    if "SpecificCharacterSet" in image and names:
        copy.SpecificCharacterSet = image.SpecificCharacterSet
    for name in (*PATIENT, *STUDY):
        value = image.get(name) if name in names else None
        if name in _FORMS and not _FORMS[name].fullmatch(str(value or "")):
            value = None  # a text where a date belongs is not a date
        if value is not None or name != "IssuerOfPatientID":
            setattr(copy, name, value)
    for name in PLACES:
        setattr(copy, name, new_uid(str(image[name].value)))
    copy.SOPClassUID = image.SOPClassUID
    for name in GEOMETRY:
        setattr(copy, name, image[name].value)
    copy.SliceThickness = f"{series.volume.spacing_mm[2]:.10g}"  # a segment fills the step, whatever the slice profile
    copy.Modality = "OT"
    return copy
