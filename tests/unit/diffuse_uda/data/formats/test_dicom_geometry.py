import dataclasses

import numpy as np
import pytest

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_geometry import Plane, stacked


def _plane(height_mm: float, **changes: object) -> Plane:
    plane = Plane(
        position_mm=(-10.0, -20.0, height_mm),
        x=(1.0, 0.0, 0.0),
        y=(0.0, 1.0, 0.0),
        row_mm=2.0,
        column_mm=1.0,
        num_rows=4,
        num_columns=3,
    )
    return dataclasses.replace(plane, **changes)  # type: ignore[arg-type]


def _rule(planes: list[Plane]) -> BrokenRuleError:
    with pytest.raises(BrokenRuleError) as refused:
        stacked(planes)
    return refused.value


def test_planes_in_any_order_are_a_volume_in_ras() -> None:
    stack = stacked([_plane(5), _plane(0), _plane(10)])

    assert stack.order == (1, 0, 2)
    assert stack.shape == (3, 4, 3)
    # Columns grow to the left by 1 mm and rows to the back by 2 mm; LPS (-10, -20, 0) is RAS (10, 20, 0).
    wanted = [[-1, 0, 0, 10], [0, -2, 0, 20], [0, 0, 5, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(stack.affine_mm, wanted)


def test_slices_of_a_coronal_series_are_stacked_along_its_own_normal() -> None:
    # Columns to the left, rows down: the normal, x cross y, points to the back (LPS y).
    planes = [_plane(0, position_mm=(0.0, y, 0.0), y=(0.0, 0.0, -1.0)) for y in (6.0, 0.0, 3.0)]
    stack = stacked(planes)

    assert stack.order == (1, 2, 0)
    np.testing.assert_array_equal(stack.affine_mm[:3, 2], [0, -3, 0])


def test_a_missing_slice_is_counted_and_placed() -> None:
    broken = _rule([_plane(height) for height in (0, 5, 10, 25, 30)])

    assert broken.rule == "dicom-missing-slice"
    assert "2 of 7 slices missing, the first after 10.00 mm" in broken.found


def test_uneven_gaps_are_not_missing_slices() -> None:
    assert _rule([_plane(height) for height in (0, 5, 10, 17, 22)]).rule == "dicom-uneven-gaps"
    assert _rule([_plane(height) for height in (0, 5, 10, 15, 17)]).rule == "dicom-uneven-gaps"


def test_gaps_within_a_tenth_are_rounding() -> None:
    assert stacked([_plane(height) for height in (0, 5.02, 9.98, 15)]).shape == (3, 4, 4)


def test_gaps_that_add_up_are_uneven() -> None:
    # Every gap is within a tenth of 5 mm, and half way through the planes are 1.2 mm from an even stack.
    heights = np.cumsum([0, *[5.2] * 6, *[4.8] * 6])
    assert _rule([_plane(float(height)) for height in heights]).rule == "dicom-uneven-gaps"


def test_phases_of_one_series_are_duplicates() -> None:
    broken = _rule([_plane(height) for height in (0, 5, 10, 0, 5, 10)])

    assert broken.rule == "dicom-duplicate-slice"
    assert "2 images at every position" in broken.found
    assert "1 positions" in _rule([_plane(height) for height in (0, 5, 5, 10)]).found


def test_a_localizer_among_the_slices_has_another_orientation() -> None:
    sagittal = _plane(0, x=(0.0, 1.0, 0.0), y=(0.0, 0.0, -1.0))

    assert _rule([_plane(0), _plane(5), sagittal]).rule == "dicom-mixed-orientations"


def test_planes_of_two_sizes_or_spacings_are_refused() -> None:
    assert _rule([_plane(0), _plane(5, num_rows=5)]).rule == "dicom-mixed-sizes"
    assert _rule([_plane(0), _plane(5, row_mm=2.01)]).rule == "dicom-mixed-spacings"
    assert _rule([_plane(0, row_mm=0.0), _plane(5, row_mm=0.0)]).rule == "dicom-no-geometry"


def test_a_tilted_gantry_is_refused_with_its_angle() -> None:
    # 1 mm sideways for every 5 mm up: atan(1/5) is 11.3 degrees.
    broken = _rule([_plane(0, position_mm=(0.0, float(n), 5.0 * n)) for n in range(4)])

    assert broken.rule == "dicom-gantry-tilt"
    assert "11.3 degrees" in broken.found


def test_one_plane_is_no_volume() -> None:
    assert _rule([_plane(0)]).rule == "dicom-single-slice"


def test_axes_that_are_not_at_right_angles_are_refused() -> None:
    lean = (0.1, float(np.sqrt(0.99)), 0.0)
    assert _rule([_plane(0, y=lean), _plane(5, y=lean)]).rule == "dicom-bad-orientation"
    assert _rule([_plane(0, y=(0.0, 0.0, 0.0)), _plane(5, y=(0.0, 0.0, 0.0))]).rule == "dicom-bad-orientation"
