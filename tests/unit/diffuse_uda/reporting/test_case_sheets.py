"""One case as a page holds it, whatever the order of its axes."""

import itertools
import math

import nibabel as nib
import numpy as np
import pytest

from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import GeometryError
from diffuse_uda.reporting.case_sheets import as_json, case_sheets, oblique_degrees

ORIENTATIONS = [
    "".join(letters[place] for place, letters in zip(sides, (pair for pair in order), strict=True))
    for order in itertools.permutations((("R", "L"), ("A", "P"), ("S", "I")))
    for sides in itertools.product((0, 1), repeat=3)
]


def _body() -> tuple[Volume, np.ndarray]:
    """A body that is the same in no mirror, of 1 x 2 x 3 mm."""
    voxels = np.zeros((12, 14, 10), np.float32)
    voxels[2:10, 2:12, 1:9] = 50.0
    voxels[8:10, 9:12, 6:9] = 100.0  # bright towards right, front and top
    found = np.zeros(voxels.shape, np.uint8)
    found[3:5, 3:6, 2:4] = 1
    found[7:9, 3:5, 2:4] = 2
    return Volume(voxels=voxels, affine_mm=np.diag([1.0, 2.0, 3.0, 1.0])), found


def _stored_as(word: str, image: Volume, found: np.ndarray) -> tuple[Volume, np.ndarray]:
    towards = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(word))
    affine_mm = image.affine_mm @ nib.orientations.inv_ornt_aff(towards, image.shape)
    stored = nib.orientations.apply_orientation(image.voxels, towards)
    return Volume(voxels=stored, affine_mm=affine_mm), nib.orientations.apply_orientation(found, towards)


def test_there_are_48_orders_of_axes() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("word", ORIENTATIONS)
def test_a_case_looks_the_same_whatever_the_order_of_its_axes(word: str) -> None:
    image, found = _stored_as(word, *_body())
    assert image.orientation == word
    shown, wanted = case_sheets(image, found), case_sheets(*_body())
    assert as_json(shown) == as_json(wanted)
    assert shown.small == wanted.small
    assert shown.spacing_mm == pytest.approx((1.0, 2.0, 3.0))


def test_letters_say_where_the_bright_corner_is() -> None:
    image, found = _body()
    planes = as_json(case_sheets(image, found))["planes"]
    assert planes["axial"]["letters"] == ("R", "L", "A", "P")
    assert planes["coronal"]["letters"] == ("R", "L", "S", "I")
    assert planes["sagittal"]["letters"] == ("A", "P", "S", "I")


def test_only_the_body_is_shown_with_what_was_found_outside_of_it() -> None:
    image, found = _body()
    sheets = case_sheets(image, found)
    assert sheets.box == ((0, 12), (0, 14), (0, 10))  # two voxels around the body, or the scan's end
    outside = np.zeros((40, 14, 10), np.float32)
    outside[:12] = image.voxels
    far = np.zeros(outside.shape, np.uint8)
    assert case_sheets(Volume(voxels=outside, affine_mm=image.affine_mm), far).box[0] == (0, 12)
    far[30, 5, 5] = 1
    assert case_sheets(Volume(voxels=outside, affine_mm=image.affine_mm), far).box[0] == (0, 33)


def test_a_segmentation_without_any_structure_is_shown_in_the_middle() -> None:
    image, found = _body()
    sheets = case_sheets(image, np.zeros_like(found))
    assert [plane.slices[plane.start] for plane in sheets.planes] == [5, 7, 6]
    assert not any(plane.found for plane in sheets.planes)


def test_a_reference_is_a_layer_of_its_own() -> None:
    image, found = _body()
    sheets = case_sheets(image, found, np.roll(found, 1, axis=0))
    assert all(set(plane.drawn) == {1, 2} for plane in sheets.planes)
    assert sheets.num_bytes > case_sheets(image, found).num_bytes


def test_a_segmentation_of_another_shape_is_refused() -> None:
    image, found = _body()
    with pytest.raises(GeometryError, match="own grid"):
        case_sheets(image, found[:-1])


def test_an_aslant_scan_says_by_how_much() -> None:
    cos, sin = math.cos(math.radians(20)), math.sin(math.radians(20))
    turned = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert oblique_degrees(turned) == pytest.approx(20.0)
    assert oblique_degrees(np.diag([-1.0, 1.0, 4.0, 1.0])) == pytest.approx(0.0)
