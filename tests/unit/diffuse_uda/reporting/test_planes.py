import numpy as np
import pytest

from diffuse_uda.reporting.planes import (
    Cut,
    Plane,
    find_cut,
    grey_window,
    pixel_aspect,
    ras_spacing_mm,
    take_plane,
    turn_to_ras,
)

WHOLE = (slice(0, 3), slice(0, 4), slice(0, 5))


def _marked(right: int, anterior: int, superior: int) -> np.ndarray:
    volume = np.zeros((3, 4, 5))
    volume[right, anterior, superior] = 1
    return volume


@pytest.mark.parametrize(
    ("plane", "corner"),
    [
        # Top left of a picture: right and anterior; right and superior; anterior and superior.
        (Plane.AXIAL, _marked(2, 3, 1)),
        (Plane.CORONAL, _marked(2, 1, 4)),
        (Plane.SAGITTAL, _marked(1, 3, 4)),
    ],
)
def test_pictures_are_turned_as_a_radiologist_reads_them(plane: Plane, corner: np.ndarray) -> None:
    picture = take_plane(corner, plane, Cut(centre=(1, 1, 1), window=WHOLE))
    assert picture[0, 0] == 1
    assert picture.sum() == 1


def test_the_letters_belong_to_the_axes_of_the_picture() -> None:
    assert Plane.AXIAL.letters == ("R", "L", "A", "P")
    assert Plane.CORONAL.letters == ("R", "L", "S", "I")
    assert Plane.SAGITTAL.letters == ("A", "P", "S", "I")


def test_a_volume_in_any_orientation_shows_the_same_picture() -> None:
    ras = np.arange(60.0).reshape(3, 4, 5)
    # The same voxels stored as (superior, left, posterior).
    stored = ras.transpose(2, 0, 1)[:, ::-1, ::-1]
    affine_mm = np.array([[0, -1.0, 0, 0], [0, 0, -2.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(turn_to_ras(stored, affine_mm), ras)
    assert ras_spacing_mm(affine_mm) == (1.0, 2.0, 3.0)


def test_pixels_of_thick_slices_are_tall() -> None:
    # 1 mm to the right, 2 mm to anterior, 6 mm to superior.
    assert [pixel_aspect(plane, (1.0, 2.0, 6.0)) for plane in Plane] == [2.0, 6.0, 3.0]


def test_the_planes_go_through_most_structures_then_through_most_voxels() -> None:
    label_map = np.zeros((6, 6, 6), np.uint8)
    label_map[1, 1:4, 1:4] = 1  # nine voxels of one structure
    label_map[4, 2, 2] = 1
    label_map[4, 3, 3] = 2  # two structures in one slice
    cut = find_cut(label_map, margin=(1, 0, 9))
    assert cut.centre == (4, 3, 3)
    assert cut.window == (slice(0, 6), slice(1, 4), slice(0, 6))


def test_without_structures_the_middle_of_everything_is_shown() -> None:
    assert find_cut(np.zeros((3, 4, 5)), margin=(0, 0, 0)) == Cut(centre=(1, 2, 2), window=WHOLE)


def test_black_and_white_ignore_the_zeros_around_the_body() -> None:
    image = np.zeros(1000)
    image[:101] = np.arange(100, 201)
    assert grey_window(image) == pytest.approx((101.0, 199.5))


def test_a_scan_of_one_or_two_values_has_a_window_as_well() -> None:
    assert grey_window(np.full(5, 7.0)) == (7.0, 8.0)
    assert grey_window(np.array([0.0, 3.0, 3.0])) == (0.0, 3.0)
