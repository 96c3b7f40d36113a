"""Scores of label maps, with boxes whose distances can be counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

from diffuse_uda.algorithms.metrics import StructureScore, assd_mm, dice, hd95_mm, nsd, score_case
from diffuse_uda.errors import GeometryError

LabelMap = npt.NDArray[np.integer]
UNIT = (1.0, 1.0, 1.0)


def box(start: tuple[int, int, int], size: tuple[int, int, int]) -> LabelMap:
    """A label map of 16^3 voxels that holds one box of label 1."""
    voxels = np.zeros((16, 16, 16), dtype=np.uint8)
    voxels[tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))] = 1
    return voxels


EMPTY = box((0, 0, 0), (0, 0, 0))
CUBE = box((4, 4, 4), (4, 4, 4))


def test_a_perfect_prediction_scores_perfectly() -> None:
    assert dice(CUBE, CUBE, 1) == 1.0
    assert hd95_mm(CUBE, CUBE, 1, UNIT) == 0.0
    assert assd_mm(CUBE, CUBE, 1, UNIT) == 0.0
    assert nsd(CUBE, CUBE, 1, UNIT, tolerance_mm=0.0) == 1.0


def test_half_an_overlap_is_a_dice_of_a_half() -> None:
    # 4 x 4 x 4 shifted by 2: 32 of 64 voxels are common, 2 * 32 / 128.
    assert dice(box((6, 4, 4), (4, 4, 4)), CUBE, 1) == 0.5


def test_a_shift_by_two_voxels_of_four_millimetres_is_a_distance_of_eight() -> None:
    # A quarter of the surface (the far face) lies 2 voxels of 4 mm away.
    shifted = box((6, 4, 4), (4, 4, 4))
    assert hd95_mm(shifted, CUBE, 1, (4.0, 1.0, 1.0)) == 8.0
    assert hd95_mm(CUBE, shifted, 1, (4.0, 1.0, 1.0)) == 8.0


def test_a_plate_beside_a_plate_has_one_distance_everywhere() -> None:
    plate, other = box((4, 2, 2), (1, 9, 9)), box((7, 2, 2), (1, 9, 9))
    for score in (hd95_mm, assd_mm):
        assert score(plate, other, 1, (2.0, 1.0, 1.0)) == 6.0
    assert dice(plate, other, 1) == 0.0
    assert nsd(plate, other, 1, (2.0, 1.0, 1.0), tolerance_mm=5.9) == 0.0
    assert nsd(plate, other, 1, (2.0, 1.0, 1.0), tolerance_mm=6.0) == 1.0


def test_the_mean_distance_counts_both_surfaces() -> None:
    # One voxel against a row of three: distances 0 from the voxel, 0, 1 and 2 from the row: 3 / 4.
    voxel, row = box((4, 4, 4), (1, 1, 1)), box((4, 4, 4), (3, 1, 1))
    assert assd_mm(voxel, row, 1, UNIT) == 0.75
    # Within 1 mm: the voxel itself and two of the row, 3 of 4.
    assert nsd(voxel, row, 1, UNIT, tolerance_mm=1.0) == 0.75


def test_hd95_is_the_larger_direction_not_the_pool_of_both() -> None:
    # From the single voxel all is well; from the row of 101 voxels the 95th percentile of 0, 1, ..., 100 is 95.
    # Pooled with the voxel's own 0 it would be less.
    row, voxel = np.zeros((101, 1, 1), dtype=np.int16), np.zeros((101, 1, 1), dtype=np.int16)
    row[:], voxel[0] = 1, 1
    assert hd95_mm(voxel, row, 1, UNIT) == pytest.approx(95.0)
    assert hd95_mm(row, voxel, 1, UNIT) == pytest.approx(95.0)


def test_a_solid_has_a_surface_and_no_inside() -> None:
    # A hole in the middle of a 5^3 cube: all of the outer 98 surface voxels agree; the hole's 6 neighbours are 1 voxel
    # inside the intact surface, so the mean is 6 / (98 + 98 + 6).
    solid, hollow = box((3, 3, 3), (5, 5, 5)), box((3, 3, 3), (5, 5, 5))
    hollow[5, 5, 5] = 0
    assert assd_mm(hollow, solid, 1, UNIT) == pytest.approx(6 / 202)


def test_the_edge_of_the_volume_is_a_surface() -> None:
    whole, smaller = np.ones((5, 5, 5), dtype=np.uint8), np.zeros((5, 5, 5), dtype=np.uint8)
    smaller[1:4, 1:4, 1:4] = 1
    # Opposite voxels of the two shells are 1 apart at the faces and sqrt(3) at the corners.
    assert hd95_mm(whole, smaller, 1, UNIT) == pytest.approx(3**0.5)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calls its own deprecated option
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_agree_with_monai(seed: int) -> None:
    generator = np.random.default_rng(seed)
    spacing_mm = (1.5, 1.0, 3.0)
    prediction, reference = box((4, 4, 4), (6, 5, 4)), box((5, 4, 5), (5, 7, 4))
    prediction[generator.random((16, 16, 16)) < 0.01] = 1
    volumes = [torch.from_numpy(voxels)[None, None] for voxels in (prediction, reference)]
    hausdorff = compute_hausdorff_distance(*volumes, include_background=True, percentile=95, spacing=spacing_mm)
    mean = compute_average_surface_distance(*volumes, include_background=True, symmetric=True, spacing=spacing_mm)
    overlap = compute_surface_dice(*volumes, [1.5], include_background=True, spacing=spacing_mm)
    assert hd95_mm(prediction, reference, 1, spacing_mm) == pytest.approx(hausdorff.item(), rel=1e-5)
    assert assd_mm(prediction, reference, 1, spacing_mm) == pytest.approx(mean.item(), rel=1e-5)
    assert nsd(prediction, reference, 1, spacing_mm, tolerance_mm=1.5) == pytest.approx(overlap.item(), rel=1e-5)


def test_a_case_is_scored_structure_by_structure() -> None:
    reference = CUBE + 205 * box((0, 0, 0), (2, 2, 2)).astype(np.int16)
    scores = score_case(reference, reference, {1: "LV", 205: "MYO"}, UNIT, tolerance_mm=1.0)
    perfect = StructureScore(dice=1.0, hd95_mm=0.0, assd_mm=0.0, nsd=1.0, status="ok")  # type: ignore[arg-type]
    assert scores == {"LV": perfect, "MYO": perfect}


@pytest.mark.parametrize(
    ("prediction", "reference", "overlap", "status"),
    [
        (EMPTY, EMPTY, None, "both-empty"),
        (EMPTY, CUBE, 0.0, "empty-prediction"),
        (CUBE, EMPTY, 0.0, "empty-reference"),
    ],
)
def test_an_empty_mask_has_no_distance_and_says_why(
    prediction: LabelMap, reference: LabelMap, overlap: float | None, status: str
) -> None:
    score = score_case(prediction, reference, {1: "LV"}, UNIT, tolerance_mm=1.0)["LV"]
    assert (score.dice, score.nsd) == (overlap, overlap)
    assert (score.hd95_mm, score.assd_mm) == (None, None)
    assert score.status == status
    assert dice(prediction, reference, 1) == overlap
    assert nsd(prediction, reference, 1, UNIT, tolerance_mm=1.0) == overlap
    assert hd95_mm(prediction, reference, 1, UNIT) is None
    assert assd_mm(prediction, reference, 1, UNIT) is None


def test_a_small_structure_in_a_large_volume_is_scored_like_in_a_small_one() -> None:
    small = score_case(box((6, 4, 4), (4, 4, 4)), CUBE, {1: "LV"}, UNIT, tolerance_mm=1.0)
    padded = [np.pad(voxels, 10) for voxels in (box((6, 4, 4), (4, 4, 4)), CUBE)]
    assert score_case(padded[0], padded[1], {1: "LV"}, UNIT, tolerance_mm=1.0) == small


def test_grids_and_units_that_cannot_be_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"prediction is \(16, 16, 1\), reference is \(16, 16, 16\)"):
        dice(CUBE[..., :1], CUBE, 1)
    with pytest.raises(GeometryError, match="spacing_mm must be positive millimetres"):
        hd95_mm(CUBE, CUBE, 1, (1.0, 0.0, 1.0))
    with pytest.raises(GeometryError, match="spacing_mm must be positive millimetres"):
        score_case(EMPTY, EMPTY, {1: "LV"}, (1.0, float("nan"), 1.0), tolerance_mm=1.0)
    with pytest.raises(GeometryError, match="tolerance_mm must be 0 or more, got -1"):
        nsd(CUBE, CUBE, 1, UNIT, tolerance_mm=-1.0)
