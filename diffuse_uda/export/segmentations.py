"""Segmentations as others read them: NIfTI beside a NIfTI scan, NIfTI or DICOM-SEG for a DICOM series."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import FILE_ENDINGS, save_volume
from diffuse_uda.errors import InputError
from diffuse_uda.export.dicom_seg import Algorithm, write_dicom_seg
from diffuse_uda.export.dicom_source import load_series
from diffuse_uda.export.forms import Form
from diffuse_uda.training.prediction import LoadedSegmenter, predict_scan, segment_volume


def scans_in(path: Path) -> list[Path]:
    """What there is to segment: NIfTI files, or one folder that holds a DICOM series.

    Args:
        path: A NIfTI file, a folder of them, or the folder of a series.

    Raises:
        InputError: If there is neither.
    """
    if not path.is_dir():
        return [path]
    if files := sorted(file for file in path.iterdir() if file.name.endswith(FILE_ENDINGS)):
        return files
    if any(file.is_file() and not file.name.startswith(".") for file in path.iterdir()):
        return [path]
    rule = BrokenRuleError(
        "no-scan",
        found="no NIfTI file, and no file of a DICOM series",
        wanted="scans to segment",
        fix="correct the path; a DICOM series lies in a folder of its own",
    )
    raise InputError([rule.at(centre="-", file=str(path))])


def write_segmentation(
    segmenter: LoadedSegmenter,
    scan: Path,
    folder: Path,
    *,
    form: Form,
    algorithm: Algorithm,
    now: datetime,
    secret: bytes,
    anonymous: bool = False,
) -> Path:
    """Segment a NIfTI scan or a DICOM series and write what was found.

    Args:
        segmenter: From `load_segmenter`.
        scan: A NIfTI file, or the folder of one series.
        folder: Where the result goes.
        form: How it is written; DICOM-SEG for a series alone, because it refers to the series' images.
        algorithm: Which model it is, for DICOM.
        now: Date and time of the object, for DICOM.
        secret: Random bytes for new UIDs, for DICOM.
        anonymous: Leave the patient and the study out of DICOM.

    Returns:
        The written file.

    Raises:
        InputError: If the scan cannot be used.
        ReleaseError: If a DICOM segmentation, read back, is not what was meant.
    """
    if scan.is_file() and form is Form.NIFTI:
        return predict_scan(segmenter, scan, folder)
    try:
        series = load_series(scan)
        label_map = segment_volume(segmenter, series.volume)
    except BrokenRuleError as error:
        raise InputError([error.at(centre="-", case=scan.name, file=str(scan))]) from error
    if form is Form.NIFTI:
        file = folder / f"{scan.resolve().name}.nii.gz"
        save_volume(file, label_map, dtype="uint8")
        return file
    return write_dicom_seg(
        folder,
        label_map,
        series,
        label_names=segmenter.label_names,
        algorithm=algorithm,
        now=now,
        secret=secret,
        anonymous=anonymous,
    )
