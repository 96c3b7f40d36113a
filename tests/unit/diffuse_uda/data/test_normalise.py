"""The body is found without labels, and its intensities come out the same for every scanner."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.normalise import foreground_mask, normalise_intensity


def _head(background: float, tissue: float, noise: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """A 12^3 body of one tissue inside 20^3 voxels, with a dark hole of 2^3 in its middle."""
    voxels = np.full((20, 20, 20), background)
    voxels[4:16, 4:16, 4:16] = tissue
    voxels[9:11, 9:11, 9:11] = background
    noisy = voxels + noise * np.abs(np.random.default_rng(seed).normal(size=voxels.shape))
    return noisy.astype(np.float32)


def test_erased_background_is_everything_at_the_lowest_value() -> None:
    voxels = np.zeros((10, 10, 10), dtype=np.int16)
    voxels[2:8, 2:8, 2:8] = 700
    voxels[3, 3, 3] = 5
    mask = foreground_mask(voxels)
    assert mask.sum() == 6**3
    assert mask[3, 3, 3]


def test_erased_background_of_ct_need_not_be_zero() -> None:
    voxels = np.full((10, 10, 10), -1024, dtype=np.int16)
    voxels[2:8, 2:8, 2:8] = np.arange(216).reshape(6, 6, 6) - 900
    assert foreground_mask(voxels).sum() == 216


def test_faint_rim_of_interpolation_is_not_body() -> None:
    voxels = np.zeros((10, 10, 10), dtype=np.float32)
    voxels[2:8, 2:8, 2:8] = 0.5
    voxels[3:7, 3:7, 3:7] = 1000
    assert foreground_mask(voxels).sum() == 4**3


def test_noisy_background_is_cut_off_and_holes_are_filled() -> None:
    mask = foreground_mask(_head(background=0, tissue=1000, noise=30))
    expected = np.zeros((20, 20, 20), dtype=bool)
    expected[4:16, 4:16, 4:16] = True
    np.testing.assert_array_equal(mask, expected)


def test_metal_artefact_does_not_move_the_threshold() -> None:
    voxels = _head(background=0, tissue=1000, noise=30)
    voxels[5, 5, 5] = 1e6
    assert foreground_mask(voxels).sum() == 12**3


def test_one_bright_voxel_alone_is_found() -> None:
    # The 99.5th percentile is background here, too.
    voxels = np.zeros((10, 10, 10))
    voxels[5, 5, 5] = 1
    assert foreground_mask(voxels).sum() == 1


def test_window_is_two_standard_deviations_either_side_of_the_mean() -> None:
    # Half of the body at 100, half at 300: mean 200, std 100, window 0 to 400.
    voxels = np.zeros((10, 10, 10))
    voxels[:, :, :4], voxels[:, :, 4:8] = 100, 300
    scaled = normalise_intensity(voxels, voxels > 0)
    assert scaled.dtype == np.float32
    assert np.unique(scaled).tolist() == [0.0, 0.25, 0.75]


def test_result_is_within_0_and_1_with_a_black_background() -> None:
    voxels = _head(background=40, tissue=1000, noise=300)
    mask = foreground_mask(voxels)
    scaled = normalise_intensity(voxels, mask)
    assert scaled.min() == 0.0
    assert scaled.max() == 1.0
    assert not scaled[~mask].any()


@pytest.mark.parametrize(("gain", "offset"), [(0.01, 0), (7, 0), (3, 500)])
def test_gain_and_offset_of_the_scanner_do_not_matter(gain: float, offset: float) -> None:
    voxels = _head(background=0, tissue=1000, noise=100)
    mask = foreground_mask(voxels)
    np.testing.assert_allclose(
        normalise_intensity(voxels * gain + offset, mask), normalise_intensity(voxels, mask), atol=1e-4
    )


def test_single_outlier_hardly_widens_the_window() -> None:
    voxels = _head(background=0, tissue=1000, noise=100)
    mask = foreground_mask(voxels)
    spoilt = voxels.copy()
    spoilt[5, 5, 5] = 1e7
    difference = np.abs(normalise_intensity(spoilt, mask) - normalise_intensity(voxels, mask))
    difference[5, 5, 5] = 0
    assert difference.max() < 0.01


def test_two_voxels_are_enough_for_a_window() -> None:
    voxels = np.array([[[0.0, 1.0, 3.0]]])
    assert normalise_intensity(voxels, voxels > 0).ravel() == pytest.approx([0.0, 0.25, 0.75])


def test_constant_scan_is_refused() -> None:
    with pytest.raises(BrokenRuleError, match="every voxel is 7"):
        foreground_mask(np.full((4, 4, 4), 7))


def test_constant_foreground_is_refused() -> None:
    voxels = np.zeros((4, 4, 4))
    voxels[1:3] = 5.0
    with pytest.raises(BrokenRuleError, match="every voxel of the foreground is about 5"):
        normalise_intensity(voxels, voxels > 0)


def test_empty_foreground_is_refused() -> None:
    with pytest.raises(BrokenRuleError, match="no foreground"):
        normalise_intensity(np.zeros((4, 4, 4)), np.zeros((4, 4, 4), dtype=bool))
