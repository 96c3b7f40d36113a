"""Tiny DICOM series, written by hand from a volume wherever it lies in the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from diffuse_uda.data.volumes import Volume

STUDY_UID = generate_uid(entropy_srcs=["study"])


def write_series(folder: Path, volume: Volume, **attributes: Any) -> Path:
    """One image a slice along k; rows run along i. File names say nothing about the order of slices."""
    folder.mkdir(parents=True, exist_ok=True)
    lps_mm = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine_mm
    spacing_mm = np.linalg.norm(lps_mm[:3, :3], axis=0)
    axes = lps_mm[:3, :3] / spacing_mm
    series_uid, frame_uid = generate_uid(entropy_srcs=["series"]), generate_uid(entropy_srcs=["frame"])
    for k in range(volume.shape[2]):
        uid = generate_uid(entropy_srcs=["image", str(k)])
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = uid
        image = FileDataset(str(folder), {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, uid
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = STUDY_UID, series_uid, frame_uid
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = (
            "Doe^Jane",
            "4711",
            "19700101",
            "F",
        )
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20200101", "101500", "7", "A7"
        image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 3, k + 1
        image.ImagePositionPatient = [DSfloat(float(x), auto_format=True) for x in lps_mm[:3, 3] + k * lps_mm[:3, 2]]
        image.ImageOrientationPatient = [DSfloat(float(x), auto_format=True) for x in (*axes[:, 0], *axes[:, 1])]
        image.PixelSpacing = [DSfloat(float(spacing_mm[axis]), auto_format=True) for axis in (1, 0)]
        image.SliceThickness = "1"  # not the step between slices: those overlap, or leave gaps
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = volume.shape[1], volume.shape[0]
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.PixelData = volume.voxels[:, :, k].T.astype("<i2").tobytes()
        for name, value in attributes.items():
            setattr(image, name, value)
        image.save_as(folder / f"{uid[-9:]}.dcm")
    return folder


def set_everywhere(folder: Path, change: Any) -> None:
    """Apply a change to every image of a series and save it again."""
    import pydicom  # noqa: PLC0415

    for file in sorted(folder.iterdir()):
        image: Dataset = pydicom.dcmread(file)
        change(image)
        image.save_as(file)
