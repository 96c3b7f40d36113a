"""The planes of DICOM files, one a file or many (enhanced objects), and the values of their pixels.

Values are those after the modality transform (PS3.3 C.11.1): Hounsfield units in CT, stored values times slope plus
intercept in MR. Where MONOCHROME1 says that low values are shown white, a scan without calibrated values (anything but
CT) is turned round within its stored range, so that bright is bright in every scan of a centre; a CT's numbers are
Hounsfield units whichever way they are shown, so they stay.

Transfer syntaxes: uncompressed (also big endian and deflated), RLE, JPEG baseline and extended, JPEG 2000 and JPEG-LS
by pydicom with the decoders of Pillow and pyjpegls; lossless JPEG and whatever else pydicom cannot decode here by GDCM
inside SimpleITK. What neither can decode (High-Throughput JPEG 2000, MPEG) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_geometry import Plane


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One plane, and where its pixels are."""

    path: Path
    index: int
    """Number of the frame in its file, from 0."""
    plane: Plane


def frames_of(path: Path) -> list[Frame]:
    """Find the planes of one file; pixels are not read.

    Raises:
        BrokenRuleError: If it is no DICOM image, or does not say where it is in the patient.
    """
    header = open_dicom(path, with_pixels=False)
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise BrokenRuleError(
            "dicom-colours",
            found=f"{header.SamplesPerPixel} samples in every pixel of {path.name}",
            wanted="one number in every pixel",
            fix="name the series of the scan itself, not of a coloured overlay",
        )
    try:
        return [
            Frame(path=path, index=index, plane=_plane(header, groups))
            for index, groups in enumerate(_functional_groups(header))
        ]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BrokenRuleError(
            "dicom-no-geometry",
            found=f"{path.name} without usable position, orientation or pixel spacing ({error})",
            wanted="Image Position (Patient), Image Orientation (Patient) and Pixel Spacing for every plane",
            fix="name a series of cross-sections; a projection or a screen shot has no place in the patient",
        ) from error


def open_dicom(path: Path, *, with_pixels: bool) -> Dataset:
    """Read a DICOM file.

    Raises:
        BrokenRuleError: If it is none, or damaged.
    """
    try:
        return dcmread(path, stop_before_pixels=not with_pixels)
    except (OSError, InvalidDicomError, ValueError, EOFError, KeyError, NotImplementedError) as error:
        raise BrokenRuleError(
            "dicom-unreadable",
            found=f"{path.name}: {type(error).__name__}",
            wanted="a whole DICOM file",
            fix="export it again; compare sizes or checksums after copying",
        ) from error


@contextmanager
def well_formed(path: Path) -> Iterator[None]:
    """Turn what pydicom raises over missing or odd attributes into the one error that readers raise.

    Raises:
        BrokenRuleError: Instead.
    """
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BrokenRuleError(
            "dicom-annotation",
            found=f"{path.name}: {type(error).__name__}: {error}",
            wanted="an object with every attribute that its kind must have",
            fix="export it again from the tool that drew it",
        ) from error


def modality_values(path: Path) -> npt.NDArray[Any]:
    """Read the values of all planes of one file.

    Returns:
        Shape (frame, row, column): integers where slope and intercept are, otherwise float32.

    Raises:
        BrokenRuleError: If the pixels cannot be decoded.
    """
    data = open_dicom(path, with_pixels=True)
    shape = (-1, int(data.Rows), int(data.Columns))
    is_inverted = data.get("PhotometricInterpretation") == "MONOCHROME1" and data.get("Modality") != "CT"
    syntax = data.file_meta.TransferSyntaxUID
    try:
        if syntax.is_compressed and syntax.is_encapsulated and not _is_decodable(syntax):
            values = _decoded_by_gdcm(path)
            if is_inverted:
                slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
                values = _stored_range_sum(data) * slope + 2 * intercept - values
            return _compact(values.reshape(shape))
        stored = data.pixel_array.reshape(shape)
    except Exception as error:  # decoders raise whatever they like
        raise BrokenRuleError(
            "dicom-pixels",
            found=f"{path.name}: {syntax.name}, {type(error).__name__}",
            wanted="pixels that can be decoded",
            fix="export the series uncompressed (Explicit VR Little Endian); copy it again if that is what it is",
        ) from error
    if is_inverted:
        stored = _stored_range_sum(data) - stored.astype(np.int64)
    return _rescaled(stored, data)


def _functional_groups(header: Dataset) -> Iterator[tuple[Dataset, ...]]:
    """Where to look for a plane's attributes: the file itself, or a frame's own and the shared groups."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            msg = "several frames without functional groups"
            raise ValueError(msg)
        yield (header,)
        return
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for own in header.PerFrameFunctionalGroupsSequence:
        yield (own, shared[0])


def _plane(header: Dataset, groups: tuple[Dataset, ...]) -> Plane:
    position = _found("PlanePositionSequence", groups).ImagePositionPatient
    orientation = [float(number) for number in _found("PlaneOrientationSequence", groups).ImageOrientationPatient]
    row_mm, column_mm = _found("PixelMeasuresSequence", groups).PixelSpacing
    a, b, c = (float(number) for number in position)
    x1, x2, x3, y1, y2, y3 = orientation
    plane = Plane(
        position_mm=(a, b, c),
        x=(x1, x2, x3),
        y=(y1, y2, y3),
        row_mm=float(row_mm),
        column_mm=float(column_mm),
        num_rows=int(header.Rows),
        num_columns=int(header.Columns),
    )
    if not np.isfinite([*plane.position_mm, *plane.x, *plane.y, plane.row_mm, plane.column_mm]).all():
        msg = "not finite"
        raise ValueError(msg)
    return plane


def _found(name: str, groups: tuple[Dataset, ...]) -> Dataset:
    """The group of that name, of a frame or shared; in a file of one plane, the file itself."""
    for group in groups:
        if sequence := group.get(name):
            found: Dataset = sequence[0]
            return found
    return groups[0]


def _rescaled(stored: npt.NDArray[Any], data: Dataset) -> npt.NDArray[Any]:
    groups = list(_functional_groups(data))
    transforms = [_found("PixelValueTransformationSequence", group) for group in groups]
    if "PerFrameFunctionalGroupsSequence" not in data:
        return _compact(apply_modality_lut(stored, data))
    scaled = [
        plane * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
        for plane, one in zip(stored, transforms, strict=True)
    ]
    return _compact(np.stack(scaled))


def _compact(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers as int32, others as float32."""
    if values.dtype.kind in "iu":
        return values.astype(np.int32)
    whole = np.rint(values)
    return whole.astype(np.int32) if np.array_equal(whole, values) else values.astype(np.float32)


def _stored_range_sum(data: Dataset) -> int:
    """Lowest plus highest number that the stored bits can hold."""
    return -1 if int(data.PixelRepresentation) else 2 ** int(data.BitsStored) - 1


def _is_decodable(syntax: Any) -> bool:  # noqa: ANN401 - pydicom's UID
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _decoded_by_gdcm(path: Path) -> npt.NDArray[Any]:
    import SimpleITK  # noqa: PLC0415 - heavy, and hardly ever needed

    reader: Any = SimpleITK
    image = reader.ReadImage(str(path), reader.sitkUnknown, "GDCMImageIO")
    return np.asarray(reader.GetArrayFromImage(image), dtype=np.float64)
