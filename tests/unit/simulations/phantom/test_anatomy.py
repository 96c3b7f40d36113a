from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from diffuse_uda.errors import ConfigError
from simulations.phantom.anatomy import LABEL_OF_TISSUE, LABELS, Anatomy, Grid, render_anatomy
from simulations.phantom.structures import Tissue
from simulations.phantom.subjects import Subject, draw_subject

GRID = Grid()
EVERYBODY = range(6)

# Healthy adults have about 500-600 ml of cortex, 400-500 ml of white matter, 10-60 ml of ventricles, 25-35 ml of deep
# grey matter, 130-160 ml of cerebellum, 20-30 ml of brainstem; the phantom may be a little wider.
VOLUME_RANGES_ML = {
    "cortical_gm": (380, 760),
    "white_matter": (280, 560),
    "ventricles": (8, 80),
    "deep_gm": (12, 40),
    "cerebellum": (90, 220),
    "brainstem": (12, 40),
}


def person(seed: int) -> Subject:
    return draw_subject(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def anatomies() -> list[Anatomy]:
    return [render_anatomy(person(seed), GRID) for seed in EVERYBODY]


def mask(anatomy: Anatomy, name: str) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = anatomy.label_map == LABELS[name]
    return inside


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def share_of_largest_parts(structure: npt.NDArray[np.bool_], *, num_parts: int) -> float:
    parts, _ = ndimage.label(structure, structure=np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(parts.ravel())[1:])
    return float(sizes[-num_parts:].sum() / sizes.sum())


@pytest.mark.parametrize("who", EVERYBODY)
def test_everybody_has_every_structure_in_the_size_of_an_adult(anatomies: list[Anatomy], who: int) -> None:
    voxel_ml = 0.125  # 5 mm cubed

    for name, (least, most) in VOLUME_RANGES_ML.items():
        assert least <= mask(anatomies[who], name).sum() * voxel_ml <= most, name


@pytest.mark.parametrize("who", EVERYBODY)
def test_tissues_share_each_voxel(anatomies: list[Anatomy], who: int) -> None:
    shares = np.stack(list(anatomies[who].fractions.values()))

    assert shares.min() >= 0.0
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-5)
    # Partial volume: at 5 mm about every second voxel of the head holds more than one tissue.
    head = anatomies[who].fractions[Tissue.AIR] < 0.5
    assert 0.3 < (shares.max(axis=0)[head] < 0.95).mean() < 0.9


def test_the_label_is_the_structure_with_the_largest_share(anatomies: list[Anatomy]) -> None:
    anatomy = anatomies[0]
    by_label = np.zeros((len(LABELS), *GRID.shape))
    for tissue, share in anatomy.fractions.items():
        by_label[LABEL_OF_TISSUE[tissue]] += share
    first, second = np.sort(by_label, axis=0)[[-1, -2]]
    clear = first > second + 1e-4

    np.testing.assert_array_equal(anatomy.label_map[clear], by_label.argmax(axis=0)[clear])
    assert anatomy.label_map.dtype == np.uint8


@pytest.mark.parametrize("who", EVERYBODY)
def test_structures_lie_within_each_other(anatomies: list[Anatomy], who: int) -> None:
    anatomy = anatomies[who]
    depth_mm = ndimage.distance_transform_edt(anatomy.fractions[Tissue.AIR] < 0.5, sampling=GRID.spacing_mm)
    cortex, white, deep, ventricles = (
        depth_mm[mask(anatomy, name)] for name in ("cortical_gm", "white_matter", "deep_gm", "ventricles")
    )

    assert cortex.mean() < white.mean() < min(deep.mean(), ventricles.mean())
    # White matter never meets the air, and what is deep is at least two voxels from it.
    assert white.min() > 5.0
    assert min(deep.min(), ventricles.min()) >= 10.0


@pytest.mark.parametrize("who", EVERYBODY)
def test_structures_hang_together(anatomies: list[Anatomy], who: int) -> None:
    for name in ("cortical_gm", "white_matter", "cerebellum", "brainstem"):
        assert share_of_largest_parts(mask(anatomies[who], name), num_parts=1) > 0.9, name
    # The ventricles may be three at this voxel size, the nuclei four.
    assert share_of_largest_parts(mask(anatomies[who], "ventricles"), num_parts=3) > 0.9
    assert share_of_largest_parts(mask(anatomies[who], "deep_gm"), num_parts=4) > 0.9


@pytest.mark.parametrize("who", EVERYBODY)
def test_the_cortex_is_folded(anatomies: list[Anatomy], who: int) -> None:
    """Folds make white matter smaller and yet its surface larger: a quarter more of it for each voxel, or better."""
    smooth = render_anatomy(replace(person(who), sulcal_depth_mm=0.0), GRID)
    folded_white, smooth_white = mask(anatomies[who], "white_matter"), mask(smooth, "white_matter")

    assert folded_white.sum() < smooth_white.sum()
    assert face_count(folded_white) > face_count(smooth_white)
    assert face_count(folded_white) / folded_white.sum() > 1.25 * face_count(smooth_white) / smooth_white.sum()


def face_count(structure: npt.NDArray[np.bool_]) -> int:
    return int(sum(np.abs(np.diff(structure.astype(int), axis=axis)).sum() for axis in range(3)))


def test_people_differ_but_are_people(anatomies: list[Anatomy]) -> None:
    for first, second in pairwise(anatomies):
        assert 0.3 < dice(mask(first, "cortical_gm"), mask(second, "cortical_gm")) < 0.9
        assert 0.5 < dice(first.label_map > 0, second.label_map > 0) < 0.98


def test_left_is_not_right(anatomies: list[Anatomy]) -> None:
    cortex = mask(anatomies[0], "cortical_gm")

    assert dice(cortex, cortex[::-1]) < 0.9


def test_a_head_one_voxel_further_is_the_same_image_one_voxel_further() -> None:
    here = replace(person(3), translation_mm=(0.0, 0.0, 0.0))
    there = replace(here, translation_mm=(5.0, 0.0, -5.0))

    first, second = (render_anatomy(who, GRID).label_map for who in (here, there))

    np.testing.assert_array_equal(second[1:, :, :-1], first[:-1, :, 1:])


def test_a_head_that_looks_to_the_left_is_the_image_turned_about_the_axis_to_the_top() -> None:
    cube = Grid(shape=(40, 40, 40))
    straight = replace(person(4), translation_mm=(0.0, 0.0, 0.0), rotation_rad=(0.0, 0.0, 0.0))
    turned = replace(straight, rotation_rad=(0.0, 0.0, np.pi / 2))

    first, second = (render_anatomy(who, cube).label_map for who in (straight, turned))

    # What was in front (+y) is now to the left (-x): x' = -y, y' = x.
    expected = np.swapaxes(first, 0, 1)[::-1]
    assert (second == expected).mean() > 0.999


@pytest.mark.parametrize("seed", [0, 1])
def test_a_person_is_the_same_at_another_voxel_size(seed: int) -> None:
    coarse = render_anatomy(person(seed), GRID)
    fine = render_anatomy(person(seed), Grid(shape=(40, 48, 40), spacing_mm=(4.0, 4.0, 4.0)))

    for tissue in (Tissue.CORTICAL_GM, Tissue.WHITE_MATTER, Tissue.CEREBELLAR_GM, Tissue.VENTRICULAR_CSF):
        coarse_ml, fine_ml = coarse.fractions[tissue].sum() * 0.125, fine.fractions[tissue].sum() * 0.064
        assert coarse_ml == pytest.approx(fine_ml, rel=0.05), tissue


def test_wider_ventricles_are_the_only_change_they_make() -> None:
    slim = replace(person(2), ventricle_radius_mm=5.0)
    wide = replace(slim, ventricle_radius_mm=9.0)

    first, second = (render_anatomy(who, GRID) for who in (slim, wide))

    # Tubes of 9/5 the radius have (9/5)^2 = 3.2 times the volume, and a little more at the ends.
    growth = second.fractions[Tissue.VENTRICULAR_CSF].sum() / first.fractions[Tissue.VENTRICULAR_CSF].sum()
    assert 2.5 < growth < 4.5
    np.testing.assert_array_equal(second.fractions[Tissue.CEREBELLAR_GM], first.fractions[Tissue.CEREBELLAR_GM])


def test_a_positive_asymmetry_makes_the_left_ventricle_the_larger() -> None:
    who = replace(person(2), ventricle_asymmetry=0.4, translation_mm=(0.0, 0.0, 0.0))

    fluid = render_anatomy(who, GRID).fractions[Tissue.VENTRICULAR_CSF]

    assert fluid[:16].sum() > 1.3 * fluid[16:].sum()


def test_no_brain_is_cut_by_the_edge_of_the_field_of_view(anatomies: list[Anatomy]) -> None:
    for anatomy in anatomies:
        for axis in range(3):
            assert (np.take(anatomy.label_map, [0, -1], axis=axis) == 0).all()


def test_the_centre_of_a_grid_is_the_origin() -> None:
    grid = Grid(shape=(4, 6, 2), spacing_mm=(5.0, 4.0, 3.0))

    corner, opposite = grid.affine_mm @ [0, 0, 0, 1], grid.affine_mm @ [3, 5, 1, 1]

    np.testing.assert_allclose(corner, [-7.5, -10.0, -1.5, 1])
    np.testing.assert_allclose(opposite, [7.5, 10.0, 1.5, 1])
    x, y, z = grid.points()
    np.testing.assert_allclose([x[3, 5, 1], y[3, 5, 1], z[3, 5, 1]], [7.5, 10.0, 1.5])
    # Halves of a 5 mm voxel lie 1.25 mm on either side of its centre.
    np.testing.assert_allclose(grid.points(oversampling=2)[0][:2, 0, 0], [-8.75, -6.25])


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((0, 4, 4), (1.0, 1.0, 1.0)), ((4, 4, 4), (1.0, 0.0, 1.0)), ((4, 4, 4), (1.0, float("nan"), 1.0))],
)
def test_a_grid_without_voxels_is_refused(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="is empty: wanted at least one voxel"):
        Grid(shape=shape, spacing_mm=spacing_mm)
