"""Laws of the ASC+ augmentation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.augmentation import (
    ASC_PLUS_GEOMETRY,
    IntensityRanges,
    augment_geometry,
    augment_intensity,
    blur,
    random_crop,
)
from diffuse_uda.algorithms.structure import DeformationRanges
from diffuse_uda.errors import GeometryError


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _volumes(num: int = 2) -> Tensor:
    """Foreground in [0.2, 0.8] inside an empty margin of two voxels."""
    volumes = torch.zeros(num, 1, 10, 12, 11)
    volumes[:, :, 2:-2, 2:-2, 2:-2] = 0.2 + 0.6 * torch.rand((num, 1, 6, 8, 7), generator=_seeded(7))
    return volumes


def _only(**given: tuple[float, float]) -> IntensityRanges:
    """Every operation is applied, but those not named are neutral."""
    neutral = {"blur_sigma_voxels": (0.0, 0.0), "brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "gamma": (1.0, 1.0)}
    limits = neutral | given
    return IntensityRanges(
        blur_sigma_voxels=limits["blur_sigma_voxels"],
        brightness=limits["brightness"],
        contrast=limits["contrast"],
        gamma=limits["gamma"],
        probability=1.0,
        max_operations=4,
    )


def test_intensity_keeps_range_and_background_and_depends_on_the_seed() -> None:
    volumes = _volumes(8)
    first, again, other = (augment_intensity(volumes, _seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert float(first.min()) >= 0.0
    assert float(first.max()) <= 1.0
    assert not bool(first[volumes == 0].any())
    assert torch.equal(volumes, _volumes(8))  # the input is untouched


@pytest.mark.parametrize("ranges", [IntensityRanges(probability=0.0), _only(), IntensityRanges(max_operations=0)])
def test_no_operation_returns_the_input(ranges: IntensityRanges) -> None:
    torch.testing.assert_close(augment_intensity(_volumes(), _seeded(0), ranges), _volumes())


def test_brightness_multiplies() -> None:
    result = augment_intensity(_volumes(), _seeded(0), _only(brightness=(0.7, 0.7)))
    torch.testing.assert_close(result, 0.7 * _volumes())


def test_contrast_spreads_around_the_foregrounds_mean() -> None:
    # Intensities 0.4 and 0.6, mean 0.5: contrast 0.7 gives 0.43 and 0.57; the empty half has no say.
    volumes = torch.tensor([0.0, 0.0, 0.4, 0.6]).view(1, 1, 4, 1, 1)
    result = augment_intensity(volumes, _seeded(0), _only(contrast=(0.7, 0.7)))
    assert result.flatten().tolist() == pytest.approx([0.0, 0.0, 0.43, 0.57])


def test_gamma_is_an_exponent() -> None:
    result = augment_intensity(_volumes(), _seeded(0), _only(gamma=(1.3, 1.3)))
    torch.testing.assert_close(result, _volumes() ** 1.3)


def test_too_bright_is_clipped() -> None:
    result = augment_intensity(_volumes(), _seeded(0), _only(brightness=(9.0, 9.0)))
    torch.testing.assert_close(result, (_volumes() > 0).float())


@pytest.mark.parametrize(
    ("probability", "max_operations", "expected"), [(1.0, 3, 750), (0.7, 4, 700), (0.7, 3, 640), (0.7, 0, 0)]
)
def test_each_operation_has_its_chance_but_at_most_three_fall_on_one_sample(
    probability: float, max_operations: int, expected: int
) -> None:
    # All wanted and three taken: 3/4 of 1000 samples. All four wanted has chance 0.24: (4 * 0.7 - 0.24) / 4 = 0.64.
    ranges = IntensityRanges(
        brightness=(0.5, 0.5),
        contrast=(1.0, 1.0),
        gamma=(1.0, 1.0),
        probability=probability,
        max_operations=max_operations,
    )
    volumes = torch.full((1000, 1, 1, 1, 1), 0.5)
    darkened = int((augment_intensity(volumes, _seeded(0), ranges) < 0.3).sum())
    assert abs(darkened - expected) <= 45  # three standard deviations of a count near 700 of 1000


def test_blur_is_the_normalised_gaussian_of_each_sample() -> None:
    impulse = torch.zeros(2, 1, 17, 17, 17)
    impulse[:, :, 8, 8, 8] = 1.0
    sharp, smooth = blur(impulse, torch.tensor([0.0, 1.0]))
    assert torch.equal(sharp, impulse[0])
    # One voxel off along one axis falls by exp(-1/2), two by exp(-2), along any axis.
    centre = float(smooth[0, 8, 8, 8])
    assert float(smooth[0, 9, 8, 8]) == pytest.approx(centre * math.exp(-0.5), rel=1e-3)
    assert float(smooth[0, 8, 10, 8]) == pytest.approx(centre * math.exp(-2), rel=1e-3)
    assert float(smooth[0, 8, 8, 7]) == pytest.approx(centre * math.exp(-0.5), rel=1e-3)
    # The three-dimensional Gaussian's peak is (2 pi)^-1.5 = 0.0635.
    assert centre == pytest.approx(0.0635, rel=0.01)


def test_blur_keeps_a_constant_up_to_the_border() -> None:
    constant = torch.full((1, 2, 5, 6, 7), 0.4)
    torch.testing.assert_close(blur(constant, torch.tensor([1.5])), constant)


def test_geometry_moves_image_and_label_map_alike() -> None:
    label_map = torch.zeros(4, 1, 20, 22, 24, dtype=torch.long)
    label_map[..., 5:15, 5:15, 5:15] = 4
    volumes, moved = augment_geometry(label_map.float(), label_map, _seeded(0))
    assert set(torch.unique(moved).tolist()) == {0, 4}
    # Where interpolation mixed nothing, both agree; scaled by 0.7, the cube of 1000 voxels has 343 left.
    pure = (volumes < 1e-4) | (volumes > 4 - 1e-4)
    assert torch.equal(volumes[pure].round().long(), moved[pure])
    sizes = (moved == 4).sum(dim=(1, 2, 3, 4))
    assert bool(((sizes > 300) & (sizes < 1050)).all())
    assert torch.unique(sizes).numel() > 1


def test_geometry_defaults_are_rotation_and_scale_alone() -> None:
    assert (
        DeformationRanges(rotation_degrees=(-15.0, 15.0), scale=(0.7, 1.0), shift=(0.0, 0.0), elastic=(0.0, 0.0))
        == ASC_PLUS_GEOMETRY
    )


def test_geometry_refuses_different_grids() -> None:
    with pytest.raises(GeometryError, match="must be equal"):
        augment_geometry(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 5, dtype=torch.long), _seeded(0))


def test_crops_are_the_same_for_all_tensors_and_lie_within() -> None:
    index = torch.arange(6 * 7 * 8).view(1, 1, 6, 7, 8).expand(20, -1, -1, -1, -1)
    first, second = random_crop([index, index.float()], (4, 4, 8), _seeded(0))
    assert first.shape == (20, 1, 4, 4, 8)
    assert first.dtype == index.dtype
    assert torch.equal(first.float(), second)
    # A patch is wholly given by its first voxel: i = n // 56, j = n // 8 % 7, and k has no room.
    corners = first[:, 0, 0, 0, 0]
    assert bool((corners % 8 == 0).all())
    assert int((corners // 56).max()) == 2
    assert int((corners // 8 % 7).max()) == 3
    for patch, corner in zip(first, corners, strict=True):
        i, j = int(corner // 56), int(corner // 8 % 7)
        assert torch.equal(patch, index[0, :, i : i + 4, j : j + 4])


def test_a_crop_of_the_whole_volume_is_the_volume() -> None:
    assert torch.equal(random_crop([_volumes()], (10, 12, 11), _seeded(0))[0], _volumes())


def test_a_patch_larger_than_the_volume_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"patch_size \(10, 13, 11\) is larger .* pad them first"):
        random_crop([_volumes()], (10, 13, 11), _seeded(0))


@pytest.mark.parametrize("shape", [(2, 1, 10, 12, 12), (1, 1, 10, 12, 11)])
def test_crops_of_different_grids_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="must share batch and grid"):
        random_crop([_volumes(), torch.zeros(shape)], (4, 4, 4), _seeded(0))
