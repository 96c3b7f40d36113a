"""DICOM-SEG and RTSTRUCT as label sources: rebuilt by position, or refused with a reason."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom import DicomChoice, list_dicom
from diffuse_uda.data.formats.dicom_seg import DicomSegmentation
from diffuse_uda.data.formats.dicom_series import DicomSeries
from diffuse_uda.data.formats.rtstruct import StructureSet, crosses_itself
from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import InputError
from tests.layouts.anatomy import BOXES, an_anatomy, assert_same_in_patient_space
from tests.layouts.dicom_segmentation import write_segmentation
from tests.layouts.dicom_series import SeriesTags, box_contours, write_series, write_structure_set
from tests.layouts.generic import STRUCTURES
from tests.planted import PATIENT

NUMBERS = {name: number for number, name in STRUCTURES.items()}
FRAME = SeriesTags().frame_of_reference


def _series(root: Path) -> tuple[list[Path], Volume]:
    files = write_series(root / "ct", an_anatomy().image)
    return files, DicomSeries(files=tuple(files)).load()


def _segmentation(
    root: Path, kind: str = "BINARY", change: Callable[[Dataset], object] | None = None
) -> tuple[Path, Volume]:
    files, image = _series(root)
    path = write_segmentation(root / "seg", files, an_anatomy().label_map, STRUCTURES, kind=kind)
    if change is not None:
        data = dcmread(path)
        change(data)
        data.save_as(path)
    return path, image


def _seg(path: Path, frame_of_reference: str = FRAME) -> DicomSegmentation:
    return DicomSegmentation(path=path, frame_of_reference=frame_of_reference, numbers=NUMBERS)


def _refused(load: Callable[[], object]) -> str:
    with pytest.raises(BrokenRuleError) as refused:
        load()
    return refused.value.rule


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_omitted_frames_are_rebuilt_by_position(kind: str, tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path, kind)
    label_map = _seg(path).load(image)

    assert dcmread(path).NumberOfFrames < 2 * image.shape[2]
    assert_same_in_patient_space(label_map, an_anatomy().label_map)


def _reversed(data: Dataset) -> None:
    pixels = data.pixel_array[::-1]
    data.PerFrameFunctionalGroupsSequence = list(data.PerFrameFunctionalGroupsSequence)[::-1]
    bits = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    data.PixelData = bits + b"\0" * (len(bits) % 2)


def test_the_order_of_frames_means_nothing(tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path, change=_reversed)

    assert_same_in_patient_space(_seg(path).load(image), an_anatomy().label_map)


def test_segments_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path)
    label_map = DicomSegmentation(path=path, frame_of_reference=FRAME, numbers={"tumour": 1}).load(image)

    wanted = (an_anatomy().label_map.voxels == 2).astype(np.uint8)
    assert_same_in_patient_space(label_map, Volume(voxels=wanted, affine_mm=an_anatomy().image.affine_mm))


def test_a_fractional_segmentation_is_refused(tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path, "FRACTIONAL")

    assert _refused(lambda: _seg(path).load(image)) == "dicom-fractional-segmentation"


def test_a_segmentation_in_another_frame_of_reference_is_refused(tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path)

    assert _refused(lambda: _seg(path, "1.2.3.10").load(image)) == "dicom-other-frame-of-reference"
    assert _refused(lambda: _seg(path, "").load(image)) == "dicom-other-frame-of-reference"


def test_a_segmentation_between_the_slices_or_on_other_pixels_is_refused(tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path)
    up, aside = image.affine_mm.copy(), image.affine_mm.copy()
    up[:3, 3] += up[:3, 2] / 2
    aside[:3, 3] += aside[:3, 0]
    for affine_mm in (up, aside):
        moved = Volume(voxels=image.voxels, affine_mm=affine_mm)
        assert _refused(lambda moved=moved: _seg(path).load(moved)) == "dicom-other-grid"  # type: ignore[misc]
    smaller = Volume(voxels=image.voxels[:-1], affine_mm=image.affine_mm)
    assert _refused(lambda: _seg(path).load(smaller)) == "dicom-other-grid"


def test_segments_that_overlap_are_refused(tmp_path: Path) -> None:
    def everywhere(data: Dataset) -> None:
        data.PixelData = b"\xff" * len(data.PixelData)

    path, image = _segmentation(tmp_path, change=everywhere)
    assert _refused(lambda: _seg(path).load(image)) == "dicom-overlapping-segments"


def _structures(
    root: Path, contours: dict[str, list[np.ndarray]], kind: str = "CLOSED_PLANAR"
) -> tuple[StructureSet, Volume]:
    _, image = _series(root)
    path = write_structure_set(root / "rt", an_anatomy().image, contours, kind=kind)
    return StructureSet(path=path, frame_of_reference=FRAME, numbers=NUMBERS), image


def test_voxels_whose_centres_are_inside_a_contour_are_in(tmp_path: Path) -> None:
    # A triangle over centres (1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3) and nothing else.
    triangle = np.array([(0.7, 0.7, 2.0), (3.9, 0.7, 2.0), (0.7, 3.9, 2.0)])
    source, image = _structures(tmp_path, {"ventricle": [triangle]})
    found = source.load(image)

    inside = np.zeros(image.shape, dtype=np.uint8)
    for i, j in ((1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3)):
        inside[i, j, 2] = 1
    assert_same_in_patient_space(found, Volume(voxels=inside, affine_mm=an_anatomy().image.affine_mm))


def test_a_contour_inside_another_one_is_a_hole(tmp_path: Path) -> None:
    outer = box_contours((slice(1, 6), slice(1, 6), slice(2, 3)))
    inner = box_contours((slice(2, 5), slice(2, 5), slice(2, 3)))
    source, image = _structures(tmp_path, {"ventricle": [*outer, *inner]})

    assert int((source.load(image).voxels == 1).sum()) == 25 - 9


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "POINT", "OPEN_NONPLANAR"])
def test_an_open_contour_is_refused(kind: str, tmp_path: Path) -> None:
    source, image = _structures(tmp_path, {"ventricle": box_contours(BOXES[1])}, kind)
    assert _refused(lambda: source.load(image)) == "dicom-open-contour"


def test_a_contour_that_crosses_itself_is_refused(tmp_path: Path) -> None:
    bow_tie = np.array([(1.0, 1.0, 2.0), (4.0, 4.0, 2.0), (4.0, 1.0, 2.0), (1.0, 4.0, 2.0)])
    source, image = _structures(tmp_path, {"tumour": [bow_tie]})
    assert _refused(lambda: source.load(image)) == "dicom-contour-crosses-itself"


def test_a_keyhole_touches_itself_and_does_not_cross() -> None:
    square = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)]
    hole = [(3.0, 3.0), (3.0, 6.0), (6.0, 6.0), (6.0, 3.0)]
    keyhole = np.array([*square, square[0], hole[0], *hole[1:], hole[0], square[0]])

    assert not crosses_itself(keyhole)
    assert not crosses_itself(np.array(square))
    assert crosses_itself(np.array([square[0], square[2], square[1], square[3]]))


def test_a_contour_between_the_slices_or_beyond_them_is_refused(tmp_path: Path) -> None:
    for height in (1.5, 9.0):
        contour = box_contours(BOXES[1])[0]
        contour[:, 2] = height
        source, image = _structures(tmp_path / str(height), {"tumour": [contour]})
        assert _refused(lambda: source.load(image)) == "dicom-contour-off-slice"  # noqa: B023 - called at once


def test_regions_that_overlap_or_lie_in_another_frame_are_refused(tmp_path: Path) -> None:
    source, image = _structures(tmp_path, {name: box_contours(BOXES[1]) for name in NUMBERS})
    assert _refused(lambda: source.load(image)) == "dicom-overlapping-segments"
    elsewhere = StructureSet(path=source.path, frame_of_reference="1.2.3.10", numbers=NUMBERS)
    assert _refused(lambda: elsewhere.load(image)) == "dicom-other-frame-of-reference"


def test_two_annotations_of_a_series_are_never_chosen_from(tmp_path: Path) -> None:
    files, _ = _series(tmp_path)
    write_segmentation(tmp_path / "seg", files, an_anatomy().label_map, STRUCTURES)
    write_structure_set(tmp_path / "rt", an_anatomy().image, {"ventricle": box_contours(BOXES[1])})

    with pytest.raises(InputError, match="dicom-several-annotations"):
        list_dicom(tmp_path, DicomChoice())
    names = ("ventricle", "tumour")
    for choice in (DicomChoice(annotations="seg", structures=names), DicomChoice(structures=("tumour",))):
        source = list_dicom(tmp_path, choice).cases[0].label_map
        assert isinstance(source, DicomSegmentation)
    listing = list_dicom(tmp_path, DicomChoice(annotations="rtstruct", structures=("ventricle",)))
    assert isinstance(listing.cases[0].label_map, StructureSet)
    assert listing.label_names == {1: "ventricle"}
    assert list_dicom(tmp_path, DicomChoice(annotations="none")).cases[0].label_map is None
    assert listing.notes == ()
    both = DicomChoice(annotations="rtstruct", structures=("ventricle", "tumour"))
    with pytest.raises(InputError, match=r"no structure named \['tumour'\]"):
        list_dicom(tmp_path, both)
    with pytest.raises(InputError, match=r"no structure named \['heart'\]"):
        list_dicom(tmp_path, DicomChoice(annotations="seg", structures=("ventricle", "heart")))


def test_names_of_structures_are_said_and_never_taken_over(tmp_path: Path) -> None:
    files, _ = _series(tmp_path)
    write_segmentation(tmp_path / "seg", files, an_anatomy().label_map, {1: PATIENT, 2: "tumour"})

    with pytest.raises(InputError, match="nobody says which are meant"):
        list_dicom(tmp_path, DicomChoice())
    assert list_dicom(tmp_path, DicomChoice(structures=("tumour",))).label_names == {1: "tumour"}


def test_a_case_that_lacks_a_structure_is_named(tmp_path: Path) -> None:
    for number, regions in enumerate((("ventricle", "tumour"), ("ventricle",))):
        tags = SeriesTags(study=f"1.2.{number}", series=f"1.2.{number}.1")
        image = an_anatomy(number).image
        write_series(tmp_path / str(number), image, tags)
        contours = {name: box_contours(BOXES[NUMBERS[name]]) for name in regions}
        write_structure_set(tmp_path / str(number) / "rt", image, contours, tags)
    listing = list_dicom(tmp_path, DicomChoice(structures=("ventricle", "tumour")))

    assert listing.notes == (f"{tmp_path / '1'}: nothing is drawn for tumour",)


def _nothing(data: Dataset) -> None:
    for name in ("PerFrameFunctionalGroupsSequence", "ROIContourSequence"):
        data.pop(name, None)


def test_an_annotation_that_lacks_what_it_must_have_is_refused(tmp_path: Path) -> None:
    path, image = _segmentation(tmp_path, change=_nothing)
    assert _refused(lambda: _seg(path).load(image)) == "dicom-no-geometry"

    def no_segment(data: Dataset) -> None:
        for groups in data.PerFrameFunctionalGroupsSequence:
            groups.pop("SegmentIdentificationSequence")

    path, image = _segmentation(tmp_path / "b", change=no_segment)
    assert _refused(lambda: _seg(path).load(image)) == "dicom-annotation"
