"""The way to the working grid and back loses nothing that it need not lose."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.grid import from_working_grid, to_working_grid
from diffuse_uda.data.volumes import Volume
from diffuse_uda.types import Spacing, Triple

ORIENTATIONS = ["RAS", "LPS", "PIR", "SRA", "ALI", "LSA"]


def _affine(spacing: Triple | Spacing, origin: Spacing) -> npt.NDArray[np.float64]:
    affine_mm = np.diag([*spacing, 1.0]).astype(np.float64)
    affine_mm[:3, 3] = origin
    return affine_mm


def _balls(shape: Triple = (20, 24, 22)) -> npt.NDArray[np.uint8]:
    """Three overlapping balls as classes 1 to 3, none of them in the middle."""
    index = np.indices(shape)
    voxels = np.zeros(shape, dtype=np.uint8)
    for label, centre, radius in ((1, (9, 12, 10), 8), (2, (7, 14, 11), 5), (3, (12, 8, 9), 4)):
        distance = np.sqrt(sum((index[axis] - centre[axis]) ** 2 for axis in range(3)))
        voxels[distance <= radius] = label
    return voxels


def _oriented(volume: Volume, word: str) -> Volume:
    """The same scan, stored with other axes."""
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.affine_mm), nib.orientations.axcodes2ornt(word)
    )
    return Volume(
        voxels=np.ascontiguousarray(nib.orientations.apply_orientation(volume.voxels, change)),
        affine_mm=volume.affine_mm @ nib.orientations.inv_ornt_aff(change, volume.shape),
    )


def _one_hot(label_map: npt.NDArray[np.uint8], num_classes: int = 4) -> npt.NDArray[np.float32]:
    return np.stack([label_map == label for label in range(num_classes)]).astype(np.float32)


def _dice(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """The worst of the three classes."""
    return min(
        2
        * float(((first == label) & (second == label)).sum())
        / float((first == label).sum() + (second == label).sum())
        for label in (1, 2, 3)
    )


SCAN = Volume(voxels=_balls(), affine_mm=_affine((4, 4, 4), (-40, -50, 7)))


def test_scan_on_the_working_grid_stays_bit_for_bit() -> None:
    voxels = np.random.default_rng(0).integers(0, 4000, (7, 8, 9)).astype(np.int16)
    scan = Volume(voxels=voxels, affine_mm=_affine((4.001, 4, 3.999), (1, 2, 3)))
    working = to_working_grid(scan, (4.0, 4.0, 4.0), kind="image")
    assert working.voxels.dtype == np.int16
    np.testing.assert_array_equal(working.voxels, voxels)
    np.testing.assert_array_equal(working.affine_mm, scan.affine_mm)


@pytest.mark.parametrize("word", ORIENTATIONS)
def test_every_orientation_gives_the_same_working_grid_and_comes_back_exactly(word: str) -> None:
    scan = _oriented(SCAN, word)
    assert scan.orientation == word
    working = to_working_grid(scan, (4.0, 4.0, 4.0), kind="label")
    np.testing.assert_array_equal(working.voxels, SCAN.voxels)
    np.testing.assert_allclose(working.affine_mm, SCAN.affine_mm)
    np.testing.assert_array_equal(from_working_grid(_one_hot(working.voxels), working.affine_mm, scan), scan.voxels)


@pytest.mark.parametrize("word", ORIENTATIONS)
def test_orientation_does_not_change_what_resampling_finds(word: str) -> None:
    reference = to_working_grid(SCAN, (3.0, 3.0, 3.0), kind="label")
    working = to_working_grid(_oriented(SCAN, word), (3.0, 3.0, 3.0), kind="label")
    np.testing.assert_array_equal(working.voxels, reference.voxels)
    np.testing.assert_allclose(working.affine_mm, reference.affine_mm)


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (2.0, 2.0, 2.0), (3.0, 2.5, 4.0), (1.3, 4.0, 2.2)])
def test_label_map_survives_finer_working_voxels(spacing: Spacing) -> None:
    working = to_working_grid(SCAN, spacing, kind="label")
    assert working.spacing_mm == pytest.approx(spacing)
    back = from_working_grid(_one_hot(working.voxels), working.affine_mm, SCAN)
    assert back.dtype == np.uint8
    assert _dice(back, SCAN.voxels) > 0.97


def test_image_keeps_its_place_and_its_ramp() -> None:
    # Intensity equals the world coordinate R in mm, so it must do so on any grid (away from the edge).
    affine_mm = _affine((2, 2, 2), (-10, 3, 5))
    ramp = np.broadcast_to(np.arange(20)[:, None, None] * 2.0 - 10, (20, 10, 10)).astype(np.float32)
    for spacing in ((3.0, 3.0, 3.0), (1.5, 1.5, 1.5), (2.0, 2.0, 5.0)):
        working = to_working_grid(Volume(voxels=ramp, affine_mm=affine_mm), spacing, kind="image")
        world = working.affine_mm[0, 0] * np.arange(working.shape[0]) + working.affine_mm[0, 3]
        np.testing.assert_allclose(working.voxels[3:-3, 2, 1], world[3:-3], atol=1e-3)


def test_fields_of_view_share_their_centre_and_nothing_is_cut_off() -> None:
    # 10 voxels of 1 mm reach from -0.5 to 9.5; three of 4 mm reach from -1.5 to 10.5.
    scan = Volume(voxels=np.zeros((10, 10, 10), np.uint8), affine_mm=np.eye(4))
    working = to_working_grid(scan, (4.0, 4.0, 4.0), kind="label")
    assert working.shape == (3, 3, 3)
    np.testing.assert_allclose(working.affine_mm, _affine((4, 4, 4), (0.5, 0.5, 0.5)))
    full = np.stack([np.zeros((3, 3, 3)), np.ones((3, 3, 3))])
    assert from_working_grid(full, working.affine_mm, scan).all()


def test_stripes_finer_than_a_working_voxel_become_grey_not_stripes() -> None:
    stripes = np.broadcast_to((np.arange(40) % 2)[:, None, None], (40, 8, 8)).astype(np.float32)
    working = to_working_grid(Volume(voxels=stripes, affine_mm=np.eye(4)), (3.0, 1.0, 1.0), kind="image")
    np.testing.assert_allclose(working.voxels[2:-2], 0.5, atol=0.05)


def test_larger_working_voxels_take_the_majority() -> None:
    # Class 1 fills two of three voxels along i, everywhere.
    labels = np.broadcast_to((np.arange(30) % 3 > 0)[:, None, None], (30, 6, 6)).astype(np.uint8)
    working = to_working_grid(Volume(voxels=labels, affine_mm=np.eye(4)), (3.0, 3.0, 3.0), kind="label")
    assert working.voxels.dtype == np.uint8
    assert working.voxels[1:-1].all()


def test_oblique_scan_keeps_its_rotation_and_is_not_interpolated() -> None:
    angle = math.radians(20)
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    affine_mm = np.eye(4)
    affine_mm[:3, :3] = turn * 4.0
    scan = _oriented(Volume(voxels=_balls(), affine_mm=affine_mm), "LPS")
    working = to_working_grid(scan, (4.0, 4.0, 4.0), kind="label")
    np.testing.assert_array_equal(working.voxels, _balls())
    np.testing.assert_array_equal(from_working_grid(_one_hot(working.voxels), working.affine_mm, scan), scan.voxels)
    finer = to_working_grid(scan, (3.0, 3.0, 3.0), kind="label")
    assert _dice(from_working_grid(_one_hot(finer.voxels), finer.affine_mm, scan), scan.voxels) > 0.97


def test_working_field_smaller_than_the_scan_leaves_background() -> None:
    cropped = SCAN.affine_mm.copy()
    cropped[:3, 3] += 4.0 * np.array([5, 6, 7])
    back = from_working_grid(_one_hot(_balls()[5:15, 6:16, 7:17]), cropped, SCAN)
    expected = np.zeros_like(_balls())
    expected[5:15, 6:16, 7:17] = _balls()[5:15, 6:16, 7:17]
    np.testing.assert_array_equal(back, expected)


def test_background_outside_the_field_also_where_voxels_are_interpolated() -> None:
    # Two working voxels of 2 mm, all class 1, cover world -1 to 3: scan voxels of 1 mm at -1, 0, 1, 2, 3.
    scan = Volume(voxels=np.zeros((9, 1, 1)), affine_mm=_affine((1, 1, 1), (-3, 0, 0)))
    probabilities = np.stack([np.full((2, 1, 1), 0.4), np.full((2, 1, 1), 0.6)])
    back = from_working_grid(probabilities, _affine((2, 1, 1), (0, 0, 0)), scan)
    assert back.ravel().tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_fields_that_do_not_meet_give_background() -> None:
    back = from_working_grid(_one_hot(_balls()), _affine((4, 4, 4), (4000, -50, 7)), SCAN)
    assert back.shape == SCAN.shape
    assert not back.any()


def test_probabilities_are_interpolated_before_they_are_compared() -> None:
    # Between a voxel that is sure of class 0 (1.0) and one that leans to class 1 (0.6) the half-way point is class 0.
    probabilities = np.array([[1.0, 0.4], [0.0, 0.6]]).reshape(2, 2, 1, 1)
    scan = Volume(voxels=np.zeros((3, 1, 1)), affine_mm=_affine((0.5, 1, 1), (0, 0, 0)))
    assert from_working_grid(probabilities, np.eye(4), scan).ravel().tolist() == [0, 0, 1]


def test_turned_scan_is_met_by_interpolation() -> None:
    # A quarter turn plus 45 degrees about S: the centre voxel stays, corners of the square leave the field.
    half = math.sqrt(0.5)
    turned = np.array([[half, -half, 0, 0], [half, half, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned[:3, 3] = np.array([2, 2, 0]) - turned[:3, :3] @ np.array([2, 2, 0])
    probabilities = np.stack([np.zeros((5, 5, 1)), np.ones((5, 5, 1))])
    back = from_working_grid(probabilities, np.eye(4), Volume(voxels=np.zeros((5, 5, 1)), affine_mm=turned))
    assert back[2, 2, 0] == 1
    assert [back[i, j, 0] for i, j in ((0, 0), (0, 4), (4, 0), (4, 4))] == [0, 0, 0, 0]


def test_absurdly_fine_working_grid_is_refused() -> None:
    with pytest.raises(BrokenRuleError, match="1,073,741,824 working voxels"):
        to_working_grid(SCAN, (0.01, 0.01, 0.01), kind="image")


@settings(max_examples=25, deadline=None, database=None)
@given(
    word=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(*[st.floats(0.5, 3.0)] * 3),
    working=st.tuples(*[st.floats(0.5, 3.0)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_working_grid_covers_every_scan_and_the_way_back_meets_it(
    word: str,
    spacing: Spacing,
    working: Spacing,
    shape: Triple,
) -> None:
    full = Volume(voxels=np.ones(shape, np.uint8), affine_mm=_affine(spacing, (3, -4, 5)))
    scan = _oriented(full, word)
    grid = to_working_grid(scan, working, kind="label")
    assert grid.orientation == "RAS"
    assert grid.voxels.all()
    back = from_working_grid(_one_hot(grid.voxels, 2), grid.affine_mm, scan)
    assert back.shape == scan.shape
    assert back.all()
