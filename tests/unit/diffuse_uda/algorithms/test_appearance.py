"""Laws of Fourier appearance alignment."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.appearance import (
    adaptive_window,
    align_appearance,
    block_half_width,
    crop_style_block,
    draw_window,
    half_width,
    histogram_distance,
    mean_style_block,
    style_block,
)
from diffuse_uda.errors import GeometryError

UNEVEN = (12, 15, 13)


def _volumes(seed: int, shape: tuple[int, ...] = (2, 1, *UNEVEN)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _wave(size: int) -> Tensor:
    """0.5 + 0.3 cos(one cycle along i) + 0.2 cos(two cycles along k), sampled on a cube of any size."""
    turns = 2 * math.pi * torch.arange(size) / size
    return 0.5 + (0.3 * turns.cos()[:, None, None] + 0.2 * (2 * turns).cos()).expand(1, 1, size, size, size)


@pytest.mark.parametrize(
    ("shape", "window", "expected"),
    [((128, 128, 128), 0.1, 6), ((40, 48, 40), 0.1, 2), ((40, 48, 40), 0.05, 1), ((40, 48, 40), 1.0, 20)],
)
def test_half_width_is_half_the_window_on_the_shortest_side(
    shape: tuple[int, int, int], window: float, expected: int
) -> None:
    # 0.5 * 128 * 0.1 = 6.4 -> 6; 0.5 * 40 * 0.1 = 2; 0.5 * 40 * 0.05 = 1; 0.5 * 40 * 1 = 20.
    assert half_width(shape, window) == expected


def test_half_width_is_never_zero() -> None:
    assert half_width((8, 8, 8), 0.05) == 1


@pytest.mark.parametrize("window", [0.0, -0.1, 1.01, math.nan])
def test_impossible_windows_are_refused(window: float) -> None:
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        half_width((8, 8, 8), window)


def test_a_style_is_726_floats_at_half_width_6() -> None:
    block = style_block(_volumes(0), 6)
    assert block.shape == (2, 1, 11, 11, 6)
    assert block[0].numel() == 726


def test_the_first_amplitude_is_the_mean_intensity() -> None:
    volumes = _volumes(0)
    torch.testing.assert_close(style_block(volumes, 1).flatten(), volumes.mean(dim=(1, 2, 3, 4)))


def test_amplitudes_do_not_depend_on_the_resolution() -> None:
    # A cosine of amplitude 0.3 is split over its positive and negative frequency, 0.15 each; rows are 0, 1, 2, -2, -1.
    coarse, fine = style_block(_wave(8), 3), style_block(_wave(20), 3)
    expected = torch.zeros(5, 5, 3)
    expected[0, 0, 0], expected[1, 0, 0], expected[4, 0, 0], expected[0, 0, 2] = 0.5, 0.15, 0.15, 0.1
    torch.testing.assert_close(coarse[0, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(fine, coarse, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(2, 1, *UNEVEN), (1, 2, 12, 12, 12), (1, 1, 40, 48, 40)])
@pytest.mark.parametrize("b", [1, 3, 6])
def test_a_volume_with_its_own_style_is_itself(shape: tuple[int, ...], b: int) -> None:
    volumes = _volumes(1, shape)
    torch.testing.assert_close(align_appearance(volumes, style_block(volumes, b)), volumes, atol=1e-6, rtol=0)


@pytest.mark.parametrize("b", [1, 4, 6])
def test_the_result_has_the_style_inside_the_window_and_the_content_outside(b: int) -> None:
    content, style = _volumes(1), _volumes(2) ** 3
    aligned = align_appearance(content, style_block(style, b))
    assert aligned.dtype == torch.float32  # real
    # Exact amplitudes after a real inverse transform mean that the window kept Hermitian symmetry.
    torch.testing.assert_close(style_block(aligned, b), style_block(style, b), atol=1e-6, rtol=1e-4)
    changed = (torch.fft.fftn(aligned - content, dim=(2, 3, 4), norm="forward").abs() > 1e-6).sum(dim=(1, 2, 3, 4))
    # The full spectrum has b..1 and mirrored frequencies along k as well: (2b-1)^3 of them.
    assert changed.tolist() == [(2 * b - 1) ** 3] * 2


def test_the_contents_phase_is_kept() -> None:
    content, style = _volumes(1), _volumes(2) ** 3
    aligned = align_appearance(content, style_block(style, 4))
    before, after = (torch.fft.fftn(v.double(), dim=(2, 3, 4), norm="forward") for v in (content, aligned))
    # Equal phases: before * conj(after) is real and positive, everywhere.
    product = before * after.conj()
    assert float((product.imag.abs() / product.abs()).max()) < 5e-3
    assert bool((product.real > 0).all())


def test_one_style_serves_a_batch_and_gives_it_the_styles_mean() -> None:
    styles = style_block(_volumes(2), 3)
    aligned = align_appearance(_volumes(1), mean_style_block(styles))
    expected = styles[:, 0, 0, 0, 0].mean().expand(2)
    torch.testing.assert_close(aligned.mean(dim=(1, 2, 3, 4)), expected)


def test_an_empty_volume_gets_a_finite_result() -> None:
    aligned = align_appearance(torch.zeros(2, 1, *UNEVEN), style_block(_volumes(0), 3))
    assert bool(aligned.isfinite().all())


def test_a_cropped_block_is_the_block_of_the_smaller_width() -> None:
    volumes = _volumes(3)
    torch.testing.assert_close(crop_style_block(style_block(volumes, 5), 2), style_block(volumes, 2))
    assert block_half_width(crop_style_block(style_block(volumes, 5), 2)) == 2


@pytest.mark.parametrize("b", [0, 4])
def test_a_block_is_not_cropped_to_what_it_does_not_hold(b: int) -> None:
    with pytest.raises(GeometryError, match=r"in 1\.\.3"):
        crop_style_block(style_block(_volumes(0), 3), b)


@pytest.mark.parametrize("b", [0, 7])
def test_a_window_that_would_overlap_itself_is_refused(b: int) -> None:
    # The shortest side is 12: 2 * 7 - 1 = 13 frequencies don't fit.
    with pytest.raises(GeometryError, match=r"1\.\.6"):
        style_block(_volumes(0), b)


def test_a_large_style_on_a_small_content_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"doesn't fit volumes of shape \(1, 1, 4, 4, 4\)"):
        align_appearance(_volumes(0, (1, 1, 4, 4, 4)), style_block(_volumes(0), 3))


@pytest.mark.parametrize("shape", [(1, 1, 5, 5, 4), (1, 1, 4, 5, 3), (5, 5, 3), (1, 1, 1, 1, 0)])
def test_what_is_no_style_block_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="2b-1"):
        block_half_width(torch.zeros(shape))


@pytest.mark.parametrize("style_shape", [(3, 1, 3, 3, 2), (2, 2, 3, 3, 2)])
def test_styles_of_another_batch_or_channel_number_are_refused(style_shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="one style block a volume"):
        align_appearance(_volumes(0), torch.ones(style_shape))


def test_equal_intensities_have_distance_zero_whatever_their_number() -> None:
    volumes = _volumes(0)
    assert histogram_distance(volumes, torch.cat([volumes, volumes])) == 0.0


def test_histogram_distance_by_hand() -> None:
    # Two bins: (1, 0) against (0, 1) is 1 + 1; (1, 0) against (0.5, 0.5) is 0.25 + 0.25. Overshoot counts at the ends.
    dark, bright, mixed = torch.tensor([0.0, 0.1]), torch.tensor([1.0, 0.7]), torch.tensor([-0.2, 1.3])
    assert histogram_distance(dark, bright, num_bins=2) == 2.0
    assert histogram_distance(dark, mixed, num_bins=2) == 0.5


@pytest.mark.parametrize(
    ("distance", "jitter", "expected"),
    [(0.0, 1.0, 0.1), (0.05, 0.5, 0.05), (0.25, 1.0, 0.2), (1.0, 1.5, 0.75), (2.0, 1.5, 1.0)],
)
def test_the_window_grows_with_the_distance(distance: float, jitter: float, expected: float) -> None:
    # 0.25 / 1.25 = 0.2; 1 / 2 * 1.5 = 0.75; 2 / 3 * 1.5 = 1; 0.05 / 1.05 < 0.1, so 0.1 * 0.5.
    assert adaptive_window(distance, jitter) == pytest.approx(expected)
    assert half_width((8, 8, 8), adaptive_window(distance, jitter)) >= 1


@pytest.mark.parametrize(("distance", "jitter"), [(-0.1, 1.0), (2.1, 1.0), (1.0, 0.4), (1.0, 1.6), (math.nan, 1.0)])
def test_impossible_distances_and_jitters_are_refused(distance: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="distance must be in"):
        adaptive_window(distance, jitter)


def test_drawn_windows_jitter_around_the_adaptive_one() -> None:
    generator = torch.Generator().manual_seed(0)
    windows = [draw_window(0.25, generator) for _ in range(200)]
    # 0.2 * U(0.5, 1.5): between 0.1 and 0.3 with mean 0.2.
    assert min(windows) >= 0.1
    assert max(windows) <= 0.3
    assert sum(windows) / 200 == pytest.approx(0.2, abs=0.02)
    assert draw_window(0.25, torch.Generator().manual_seed(0)) == windows[0]
