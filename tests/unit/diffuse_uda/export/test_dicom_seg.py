"""A DICOM segmentation says what was meant, carries what is on the list, and is not there if it went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts

from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import GeometryError, ReleaseError
from diffuse_uda.export import dicom_seg
from diffuse_uda.export.dicom_carried import CARRIED, PATIENT, PLACES, STUDY
from diffuse_uda.export.dicom_seg import Algorithm, write_dicom_seg
from diffuse_uda.export.dicom_seg_check import require_same_in_patient_space
from diffuse_uda.export.dicom_source import ReferencedSeries, load_series
from diffuse_uda.export.structure_codes import SCHEME, Code, known_structures, structure_code
from tests.planted import PATIENT as PLANTED
from tests.planted import holds_a_name
from tests.unit.diffuse_uda.export.dicom_files import set_everywhere, write_series
from tests.unit.diffuse_uda.export.placed_scans import ORDERS, scan

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("background", "left kidney", "Vein of Galen")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(tmp_path / "series", scan(ORDERS[9], (12.0, -8.0, 17.0)))


def classes(series: ReferencedSeries) -> Volume:
    voxels = series.volume.voxels
    return Volume(voxels=(voxels >= 235).astype(np.uint8) + (voxels >= 300), affine_mm=series.volume.affine_mm)


def write(series: ReferencedSeries, folder: Path, label_map: Volume | None = None, *, anonymous: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    return write_dicom_seg(
        folder,
        label_map or classes(series),
        series,
        label_names=NAMES,
        algorithm=Algorithm(name="diffuse-uda", weights_sha256="ab" * 32),
        now=NOW,
        secret=b"0123456789abcdef",
        anonymous=anonymous,
    )


def test_the_object_names_its_structures_its_maker_and_its_images(folder: Path, tmp_path: Path) -> None:
    series = load_series(folder)
    file = write(series, tmp_path / "out")
    found = hd.seg.segread(file)
    assert file.name == f"{found.SOPInstanceUID}.dcm"
    kidney, vein = found.SegmentSequence
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    (kind,) = vein.SegmentedPropertyTypeCodeSequence
    assert (kind.CodingSchemeDesignator, kind.CodeMeaning) == (SCHEME, "Vein of Galen")
    assert found.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == SCHEME
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    assert "weights abababababababab" in kidney.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion
    assert found.ContentQualification == "RESEARCH"
    assert (found.ContentDate, found.ContentTime, found.InstanceCreationDate) == ("20260102", "030405", "20260102")
    referred = {item.ReferencedSOPInstanceUID for item in found.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred == {image.SOPInstanceUID for image in series.slices}
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == series.slices[0].SeriesInstanceUID


def test_a_scan_without_any_structure_gives_an_object_too(folder: Path, tmp_path: Path) -> None:
    series = load_series(folder)
    nothing = Volume(voxels=np.zeros(series.volume.shape, np.uint8), affine_mm=series.volume.affine_mm)
    assert not hd.seg.segread(write(series, tmp_path / "out", nothing)).pixel_array.any()


def test_a_label_map_of_another_grid_is_refused(folder: Path, tmp_path: Path) -> None:
    series = load_series(folder)
    elsewhere = series.volume.affine_mm.copy()
    elsewhere[0, 3] += 1.0
    moved = Volume(voxels=classes(series).voxels, affine_mm=elsewhere)
    with pytest.raises(GeometryError, match="1 mm apart"):
        write(series, tmp_path / "out", moved)


def spoil_position(found: Dataset) -> None:
    for frame in found.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        place[2] = float(place[2]) + 0.5


def spoil_order(found: Dataset) -> None:
    frames = list(found.PerFrameFunctionalGroupsSequence)
    places = [frame.PlanePositionSequence for frame in frames]
    for frame, place in zip(frames, reversed(places), strict=True):
        frame.PlanePositionSequence = place


def spoil_class(found: Dataset) -> None:
    for frame in found.PerFrameFunctionalGroupsSequence:
        item = frame.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber = 3 - item.ReferencedSegmentNumber


def spoil_pixel(found: Dataset) -> None:
    data = bytearray(found.PixelData)
    data[0] ^= 1
    found.PixelData = bytes(data)


def spoil_frame_of_reference(found: Dataset) -> None:
    found.FrameOfReferenceUID = "1.2.3"


def spoil_segments(found: Dataset) -> None:
    del found.SegmentSequence[1]


def spoil_references(found: Dataset) -> None:
    found.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def spoil_spacing(found: Dataset) -> None:
    found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [9, 9]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_position, "no voxel of the scan"),
        (spoil_order, "voxels differ, the first at"),
        (spoil_class, "voxels differ, the first at"),
        (spoil_pixel, "voxels differ, the first at"),
        (spoil_frame_of_reference, "another FrameOfReferenceUID"),
        (spoil_segments, "segments \\[1\\]; wanted 1 to 2"),
        (spoil_references, "1 references to images that are not the scan's"),
        (spoil_spacing, "no voxel of the scan"),
    ],
)
def test_an_object_that_says_something_else_when_read_back_is_not_released(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Dataset], None],
    words: str,
) -> None:
    real = dicom_seg._built

    def spoilt(*arguments: object, **named: object) -> Dataset:
        built = real(*arguments, **named)  # type: ignore[arg-type]
        spoil(built)
        return built

    monkeypatch.setattr(dicom_seg, "_built", spoilt)
    with pytest.raises(ReleaseError, match=words):
        write(load_series(folder), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_frames_in_another_order_are_no_fault_because_places_count(folder: Path, tmp_path: Path) -> None:
    series = load_series(folder)
    file = write(series, tmp_path / "out")
    found = pydicom.dcmread(file)
    bits = found.pixel_array[::-1]
    found.PerFrameFunctionalGroupsSequence = list(reversed(list(found.PerFrameFunctionalGroupsSequence)))
    found.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes().ljust(len(found.PixelData), b"\0")
    found.save_as(file)
    require_same_in_patient_space(file, classes(series), list(series.slices), num_structures=2)


def plant(image: Dataset) -> None:
    """The token in everything a scanner, a technician or a research system may write, carried attributes excepted."""
    for name in ("InstitutionName", "StudyDescription", "SeriesDescription", "ProtocolName", "PatientComments"):
        setattr(image, name, PLANTED)
    for name in ("ImageComments", "ReferringPhysicianName", "OperatorsName", "StationName", "InstitutionAddress"):
        setattr(image, name, PLANTED[:16])
    for name in ("AdditionalPatientHistory", "OtherPatientIDs", "RequestedProcedureDescription", "PatientAddress"):
        setattr(image, name, PLANTED)
    for name in ("Manufacturer", "ManufacturerModelName", "ClinicalTrialSubjectID", "ClinicalTrialSponsorName"):
        setattr(image, name, PLANTED)
    for name in ("EthnicGroup", "Occupation", "PerformingPhysicianName"):
        setattr(image, name, PLANTED[:16])
    image.PositionReferenceIndicator = PLANTED
    image.private_block(0x0029, PLANTED, create=True).add_new(1, "LO", PLANTED)
    item = Dataset()
    item.CodeMeaning = PLANTED
    image.RequestAttributesSequence = [item]
    image.preamble = PLANTED.encode().ljust(128, b"\0")


def test_nothing_beside_the_list_is_carried(folder: Path, tmp_path: Path) -> None:
    set_everywhere(folder, plant)
    file = write(load_series(folder), tmp_path / "out")
    assert holds_a_name(file.read_bytes()) == []
    assert holds_a_name(file.name.encode()) == []
    # And by value: nothing that only the source says stands anywhere in the object, but under the names of the list.
    source, found = pydicom.dcmread(next(folder.iterdir())), pydicom.dcmread(file)
    told = {
        element.keyword
        for element in elements(found)
        if element.value and len(str(element.value)) > 3
        for other in source
        if str(other.value) == str(element.value)
    }
    of_the_form = {"PhotometricInterpretation"}  # MONOCHROME2 in both
    assert told - {"ReferencedSOPInstanceUID", "ReferencedSOPClassUID"} - of_the_form <= set(CARRIED)
    assert {"PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"} <= told


def elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        else:
            yield element


def test_an_anonymous_object_holds_nothing_of_patient_and_study_and_no_uid_of_theirs(
    folder: Path, tmp_path: Path
) -> None:
    def everywhere(image: Dataset) -> None:
        plant(image)
        image.PatientName, image.PatientID, image.StudyID = PLANTED, PLANTED, PLANTED[:16]
        image.AccessionNumber, image.IssuerOfPatientID = PLANTED[:16], PLANTED

    set_everywhere(folder, everywhere)
    series = load_series(folder)
    file = write(series, tmp_path / "out", anonymous=True)
    content = file.read_bytes()
    assert holds_a_name(content) == []
    source, found = series.slices[0], pydicom.dcmread(file)
    for name in (*PATIENT, *STUDY):
        assert not found.get(name), name
    for image in series.slices:
        for name in PLACES:
            assert str(image[name].value).encode() not in content, name
    assert b"19700101" not in content
    assert found.FrameOfReferenceUID != source.FrameOfReferenceUID


def test_a_name_that_must_be_carried_is_carried(folder: Path, tmp_path: Path) -> None:
    found = pydicom.dcmread(write(load_series(folder), tmp_path / "out"))
    assert (str(found.PatientName), found.PatientID, found.PatientBirthDate) == ("Doe^Jane", "4711", "19700101")
    assert (found.StudyDate, found.StudyID, found.AccessionNumber) == ("20200101", "7", "A7")
    assert not found.ReferringPhysicianName


def test_a_text_where_a_date_or_a_sex_belongs_is_not_carried(folder: Path, tmp_path: Path) -> None:
    def misuse(image: Dataset) -> None:
        for name in ("PatientBirthDate", "StudyDate", "PatientSex"):
            image[name] = DataElement(image[name].tag, "LO", PLANTED)

    set_everywhere(folder, misuse)
    found = write(load_series(folder), tmp_path / "out")
    assert holds_a_name(found.read_bytes()) == []


def test_every_code_of_the_table_is_one_that_dicom_knows() -> None:
    known = {code for codes in cast("dict[str, dict[str, object]]", concepts["SCT"]).values() for code in codes}
    for name, structure in known_structures().items():
        for code in (structure.category, structure.structure, structure.side):
            assert code is None or (code.scheme == "SCT" and code.value in known), (name, code)


@pytest.mark.parametrize("name", ["cortical_gm", "Cortical GM", " cortical-gm "])
def test_names_are_compared_without_case_and_joints(name: str) -> None:
    assert structure_code(name).structure == Code("40146001", "SCT", "Cerebral cortex")


def test_an_unknown_name_gets_a_code_of_its_own_that_fits_dicom() -> None:
    one, other = structure_code("Vein of Galen").structure, structure_code("x" * 99).structure
    assert one.value != other.value
    assert {one.scheme, other.scheme} == {SCHEME}
    assert max(len(one.value), len(other.value), len(SCHEME)) <= 16
    assert len(other.meaning) == 64
