"""Series by content: which are meant, what is left out, and what their pixels are."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom import DicomChoice, list_dicom
from diffuse_uda.data.formats.dicom_frames import modality_values
from diffuse_uda.data.formats.dicom_series import DicomSeries
from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import InputError
from tests.layouts.anatomy import an_anatomy, assert_same_in_patient_space, in_axis_order, oblique_affine_mm
from tests.layouts.dicom_series import SeriesTags, write_series


def _load(files: list[Path]) -> Volume:
    return DicomSeries(files=tuple(files)).load()


def _rule(files: list[Path]) -> str:
    with pytest.raises(BrokenRuleError) as refused:
        _load(files)
    return refused.value.rule


ORDERS = ["".join(codes) for axes in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*axes)]


@pytest.mark.parametrize("codes", ORDERS)
def test_a_series_in_any_orientation_keeps_its_voxels_in_the_patient(codes: str, tmp_path: Path) -> None:
    image = in_axis_order(an_anatomy(1, affine_mm=oblique_affine_mm()).image, codes)
    found = _load(write_series(tmp_path, image))

    assert_same_in_patient_space(found, image)
    # A DICOM volume is right-handed in LPS; one that was not is read from its other end.
    assert np.linalg.det(found.affine_mm[:3, :3]) > 0


def test_simpleitk_puts_the_same_voxels_at_the_same_place(tmp_path: Path) -> None:
    write_series(tmp_path, an_anatomy(2).image, SeriesTags(intercept=-1024), names=lambda k: f"{k:03d}.dcm")
    itk: Any = SimpleITK
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    theirs = reader.Execute()
    affine_mm = np.eye(4)
    affine_mm[:3, :3] = np.array(theirs.GetDirection()).reshape(3, 3) * theirs.GetSpacing()
    affine_mm[:3, 3] = theirs.GetOrigin()
    ours = _load(sorted(tmp_path.iterdir()))

    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine_mm, ours.affine_mm, atol=1e-4)
    np.testing.assert_array_equal(itk.GetArrayFromImage(theirs).T, ours.voxels)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = an_anatomy(3).image
    hounsfield = _load(write_series(tmp_path / "ct", image, SeriesTags(slope=1.0, intercept=-1024.0)))
    halves = Volume(voxels=(image.voxels * 0.5).astype(np.float32), affine_mm=image.affine_mm)
    scaled = _load(write_series(tmp_path / "mr", halves, SeriesTags(modality="MR", slope=0.5)))

    np.testing.assert_array_equal(in_axis_order(hounsfield, "RAS").voxels, in_axis_order(image, "RAS").voxels)
    assert hounsfield.voxels.dtype == np.int16
    np.testing.assert_array_equal(in_axis_order(scaled, "RAS").voxels, in_axis_order(halves, "RAS").voxels)
    assert scaled.voxels.dtype == np.float32


def _monochrome1(data: FileDataset, k: int) -> None:
    data.PhotometricInterpretation = "MONOCHROME1"
    data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 0


def test_monochrome1_is_turned_round_in_mr_and_not_in_hounsfield_units(tmp_path: Path) -> None:
    image = an_anatomy(4).image
    positive = Volume(voxels=image.voxels + 100, affine_mm=image.affine_mm)
    mr = _load(write_series(tmp_path / "mr", positive, SeriesTags(modality="MR"), change=_monochrome1))
    ct = _load(write_series(tmp_path / "ct", image, SeriesTags(intercept=-1024), change=_monochrome1))

    wanted = Volume(voxels=4095 - positive.voxels, affine_mm=image.affine_mm)  # 12 stored bits
    assert_same_in_patient_space(mr, wanted)
    assert_same_in_patient_space(ct, image)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, DeflatedExplicitVRLittleEndian])
def test_compressed_series_are_read(syntax: str, tmp_path: Path) -> None:
    files = {RLELossless: "MR_small_RLE.dcm", JPEG2000Lossless: "MR_small_jp2klossless.dcm"}
    files |= {JPEGLSLossless: "MR_small_jpeg_ls_lossless.dcm"}
    if syntax == DeflatedExplicitVRLittleEndian:
        image = an_anatomy(5).image

        def deflate(data: FileDataset, k: int) -> None:
            data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

        assert_same_in_patient_space(_load(write_series(tmp_path, image, change=deflate)), image)
        return
    compressed, plain = get_testdata_file(files[syntax]), get_testdata_file("MR_small.dcm")  # type: ignore[index]
    assert dcmread(str(compressed)).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(modality_values(Path(str(compressed))), modality_values(Path(str(plain))))


def test_lossless_jpeg_is_read_by_gdcm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No encoder of lossless JPEG is at hand, so GDCM gets what pydicom could have read as well.
    monkeypatch.setattr("diffuse_uda.data.formats.dicom_frames._is_decodable", lambda syntax: False)
    compressed = Path(str(get_testdata_file("MR_small_jp2klossless.dcm")))
    by_gdcm = modality_values(compressed)
    monkeypatch.undo()

    np.testing.assert_array_equal(by_gdcm, modality_values(compressed))
    assert by_gdcm.dtype == np.int32


def _without(name: str) -> Callable[[FileDataset, int], object]:
    return lambda data, k: data.pop(name)


def _colours(data: FileDataset, k: int) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0


def _half_the_pixels(data: FileDataset, k: int) -> None:
    data.PixelData = data.PixelData[: len(data.PixelData) // 2]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_without("ImagePositionPatient"), "dicom-no-geometry"),
        (_without("PixelSpacing"), "dicom-no-geometry"),
        (_colours, "dicom-colours"),
        (_half_the_pixels, "dicom-pixels"),
    ],
)
def test_files_that_are_no_scan_are_refused_with_a_reason(change: Any, rule: str, tmp_path: Path) -> None:
    assert _rule(write_series(tmp_path, an_anatomy(6).image, change=change)) == rule


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path, an_anatomy(6).image)
    files[2].write_bytes(b"no DICOM")
    assert _rule(files) == "dicom-unreadable"


def test_a_series_with_a_slice_missing_or_there_twice_is_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path, an_anatomy(6).image)
    assert _rule([*files[:2], *files[3:]]) == "dicom-missing-slice"
    twice = tmp_path / "again"
    twice.write_bytes(files[2].read_bytes())
    assert _rule([*files, twice]) == "dicom-duplicate-slice"


def _multi_frame(path: Path, image: Volume, *, tags: SeriesTags) -> Path:
    """An enhanced object with the planes in reverse, made from single slices."""
    slices = [dcmread(file) for file in write_series(path.parent / "single", image, tags)][::-1]
    data = slices[0]
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    data.NumberOfFrames = len(slices)
    data.PixelData = b"".join(one.PixelData for one in slices)
    shared, orientation, measures, transform = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = data.ImageOrientationPatient, data.PixelSpacing
    transform.RescaleSlope, transform.RescaleIntercept = tags.slope, tags.intercept
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [transform]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
    for one in slices:
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        group.PlanePositionSequence = [position]
        data.PerFrameFunctionalGroupsSequence.append(group)
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        data.pop(name, None)
    data.save_as(path, enforce_file_format=True)
    return path


def test_an_enhanced_object_is_a_series_in_one_file(tmp_path: Path) -> None:
    image = an_anatomy(7).image
    path = _multi_frame(tmp_path / "enhanced", image, tags=SeriesTags(slope=2.0, intercept=-100.0))
    stored = np.rint((image.voxels + 100.0) / 2.0) * 2 - 100

    assert_same_in_patient_space(_load([path]), Volume(voxels=stored.astype(np.int16), affine_mm=image.affine_mm))


def test_several_frames_without_functional_groups_have_no_place(tmp_path: Path) -> None:
    def frames(data: FileDataset, k: int) -> None:
        data.NumberOfFrames = 2
        data.PixelData = data.PixelData * 2

    assert _rule(write_series(tmp_path, an_anatomy(7).image, change=frames)) == "dicom-no-geometry"


def test_files_are_told_by_content_and_the_rest_is_left_out_and_counted(tmp_path: Path) -> None:
    image = an_anatomy(8).image
    files = write_series(tmp_path / "a", image)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "x.dcm").write_bytes(files[0].read_bytes())
    (tmp_path / "report.dcm").write_text("a letter")

    def localizer(data: FileDataset, k: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def screen_shot(data: FileDataset, k: int) -> None:
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage

    def report(data: FileDataset, k: int) -> None:
        for name in ("Rows", "Columns", "PixelData"):
            data.pop(name)

    for number, change in enumerate((localizer, screen_shot, report, _without("ImageOrientationPatient")), start=2):
        write_series(tmp_path / f"s{number}", image, SeriesTags(series=f"1.2.3.{number}"), change=change)
    listing = list_dicom(tmp_path, DicomChoice())

    (case,) = listing.cases
    assert_same_in_patient_space(case.image.load(), image)
    assert listing.notes == (
        "1 x copy of an object that is there already",
        "5 x image without a place in the patient (a projection, a screen shot)",
        "5 x localizer",
        "1 x no DICOM file",
        "5 x no image (a report, a directory, a presentation state)",
        "5 x secondary capture",
    )


def test_several_series_of_a_study_are_never_chosen_from(tmp_path: Path) -> None:
    for number, name in ((1, "T2 axial"), (2, "T1 axial post")):
        tags = SeriesTags(series=f"1.2.3.{number}", description=name, modality="MR")
        write_series(tmp_path / str(number), an_anatomy(number).image, tags)

    with pytest.raises(InputError, match=r"dicom-several-series(.|\n)*1\.2\.3\.1 \(MR, 'T2 axial', 5 files\)"):
        list_dicom(tmp_path, DicomChoice())
    for choice in (DicomChoice(description="t2*"), DicomChoice(series=("1.2.3.1",))):
        listing = list_dicom(tmp_path, choice)
        assert_same_in_patient_space(listing.cases[0].image.load(), an_anatomy(1).image)
        assert listing.notes == ("1 other series",)
    with pytest.raises(InputError, match="no-cases"):
        list_dicom(tmp_path, DicomChoice(modality="CT"))


def test_studies_of_one_person_are_cases_of_one_person(tmp_path: Path) -> None:
    for number in (1, 2):
        tags = SeriesTags(study=f"1.2.{number}", series=f"1.2.{number}.1")
        write_series(tmp_path / str(number), an_anatomy(number).image, tags)
    cases = list_dicom(tmp_path, DicomChoice()).cases

    assert [case.case_id for case in cases] == ["1.2.1", "1.2.2"]
    assert len({case.patient for case in cases}) == 1


def test_one_series_in_two_frames_of_reference_is_refused(tmp_path: Path) -> None:
    def moved(data: FileDataset, k: int) -> None:
        data.FrameOfReferenceUID = f"1.2.3.9.{k // 3}"

    write_series(tmp_path, an_anatomy(1).image, change=moved)
    with pytest.raises(InputError, match="dicom-other-frame-of-reference"):
        list_dicom(tmp_path, DicomChoice())


def test_every_orientation_is_among_the_48() -> None:
    assert len(set(ORDERS)) == 48
    assert nib.aff2axcodes(oblique_affine_mm()) == ("R", "A", "S")
