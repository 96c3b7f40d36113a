"""Laws of the random appearances that a site makes alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.appearance import style_block
from diffuse_uda.algorithms.randomisation import random_amplitude, random_contrast_curve, random_convolution

Randomisation = Callable[[Tensor, torch.Generator], Tensor]
ALL: list[Randomisation] = [
    random_convolution,
    random_contrast_curve,
    partial(random_amplitude, half_width=3, strength=0.3),
]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _volumes(num: int = 2, num_channels: int = 1) -> Tensor:
    """Foreground in [0.2, 0.8] inside an empty margin of two voxels, brighter towards one side."""
    volumes = torch.zeros(num, num_channels, 12, 14, 13)
    noise = torch.rand((num, num_channels, 8, 10, 9), generator=_seeded(7))
    volumes[:, :, 2:-2, 2:-2, 2:-2] = 0.2 + 0.3 * noise + 0.3 * torch.linspace(0, 1, 8)[:, None, None]
    return volumes


@pytest.mark.parametrize("randomise", ALL)
def test_equal_seeds_give_equal_volumes_and_others_do_not(randomise: Randomisation) -> None:
    volumes = _volumes()
    first, again, other = (randomise(volumes, _seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert torch.equal(volumes, _volumes())  # the input is untouched


@pytest.mark.parametrize("randomise", ALL)
def test_every_sample_gets_an_appearance_of_its_own(randomise: Randomisation) -> None:
    twins = _volumes(1).expand(2, -1, -1, -1, -1)
    first, second = randomise(twins, _seeded(0))
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("randomise", [random_convolution, random_contrast_curve])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_range_and_background_are_kept(randomise: Randomisation, num_channels: int) -> None:
    volumes = _volumes(4, num_channels)
    for seed in range(5):
        result = randomise(volumes, _seeded(seed))
        assert result.shape == volumes.shape
        assert float(result.min()) >= 0.0
        assert float(result.max()) <= 1.0
        assert not bool(result[volumes == 0].any())


@pytest.mark.parametrize("randomise", [random_convolution, random_contrast_curve])
def test_an_empty_volume_stays_empty(randomise: Randomisation) -> None:
    assert not bool(randomise(torch.zeros(1, 1, 6, 6, 6), _seeded(0)).any())


def test_convolution_with_alpha_0_returns_the_input() -> None:
    volumes = _volumes()
    result = random_convolution(volumes, _seeded(0), alpha_range=(0.0, 0.0))
    torch.testing.assert_close(result, volumes, atol=1e-5, rtol=0)


def test_convolution_keeps_the_energy() -> None:
    # A narrow foreground, so that nothing is clipped at 0 or 1.
    volumes = torch.where(_volumes() > 0, 0.45 + 0.1 * _volumes(), 0.0)
    for seed in range(5):
        result = random_convolution(volumes, _seeded(seed), kernel_sizes=(3,), alpha_range=(0.5, 1.0))
        assert not torch.allclose(result, volumes, atol=1e-2)
        torch.testing.assert_close(result.flatten(1).norm(dim=1), volumes.flatten(1).norm(dim=1), rtol=1e-4, atol=0)


def test_convolution_of_size_1_is_a_map_of_intensities() -> None:
    # Where the input has two intensities, so has the output: no neighbour had a say.
    volumes = _volumes()
    volumes[volumes > 0] = torch.where(volumes[volumes > 0] > 0.5, 0.7, 0.3)
    for sample, result in zip(volumes, random_convolution(volumes, _seeded(3), kernel_sizes=(1,)), strict=True):
        for intensity in (0.3, 0.7):
            values = result[sample == intensity]
            torch.testing.assert_close(values, values[:1].expand_as(values), atol=1e-5, rtol=0)


def test_convolution_bends_the_contrast() -> None:
    # A linear map would have correlation 1 or -1 with the input.
    ramp = torch.linspace(0.2, 0.8, 60).view(1, 1, 3, 4, 5)
    results = [random_convolution(ramp, _seeded(seed), kernel_sizes=(1,), alpha_range=(1.0, 1.0)) for seed in range(10)]
    correlations = [float(torch.corrcoef(torch.stack([ramp.flatten(), r.flatten()]))[0, 1]) for r in results]
    assert min(abs(correlation) for correlation in correlations) < 0.95


def test_convolution_can_reverse_the_contrast() -> None:
    volumes = _volumes(1)
    keep = volumes > 0
    correlations = [
        float(torch.corrcoef(torch.stack([volumes[keep], random_convolution(volumes, _seeded(seed))[keep]]))[0, 1])
        for seed in range(20)
    ]
    assert min(correlations) < -0.3
    assert max(correlations) > 0.3


def test_convolution_leaves_voxels_outside_a_given_foreground_alone() -> None:
    volumes = _volumes()
    foreground = torch.zeros(1, 1, 12, 14, 13, dtype=torch.bool)
    foreground[..., 4:8, 4:8, 4:8] = True
    result = random_convolution(volumes, _seeded(0), foreground=foreground)
    outside = ~foreground.expand_as(volumes)
    assert torch.equal(result[outside], volumes[outside])
    assert not torch.allclose(result, volumes, atol=1e-3)


def test_convolution_returns_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert random_convolution(_volumes(), _seeded(0)).dtype == torch.float32


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"odd, got \(1, 2\)"):
        random_convolution(_volumes(), _seeded(0), kernel_sizes=(1, 2))


def test_amplitude_of_strength_0_returns_the_input() -> None:
    volumes = _volumes()
    result = random_amplitude(volumes, _seeded(0), half_width=3, strength=0.0)
    torch.testing.assert_close(result, volumes, atol=1e-6, rtol=0)


def test_amplitude_factors_are_log_normal() -> None:
    volumes = _volumes(8)
    result = random_amplitude(volumes, _seeded(0), half_width=6, strength=0.3)
    logs = (style_block(result, 6) / style_block(volumes, 6)).log()
    # 8 * 726 factors, about half of the plane k = 0 repeated: mean 0, deviation 0.3. Were the factors not symmetric
    # there, the real inverse would have pulled them together.
    assert float(logs.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(logs.std()) == pytest.approx(0.3, abs=0.02)
    assert float(logs[..., 0].std()) == pytest.approx(0.3, abs=0.03)
    rows = logs[..., 0]
    torch.testing.assert_close(rows[:, :, 1:, 1:], rows[:, :, 1:, 1:].flip((2, 3)), atol=1e-3, rtol=0)


def test_amplitude_keeps_the_phase() -> None:
    volumes = _volumes()
    result = random_amplitude(volumes, _seeded(0), half_width=3, strength=0.3)
    before, after = (torch.fft.fftn(v, dim=(2, 3, 4), norm="forward")[:, :, :3, :3, :3] for v in (volumes, result))
    torch.testing.assert_close(before / before.abs(), after / after.abs(), atol=2e-3, rtol=0)


def test_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r">= 0, got -0\.1"):
        random_amplitude(_volumes(), _seeded(0), half_width=3, strength=-0.1)


def test_a_curve_is_one_map_for_all_voxels_of_a_sample() -> None:
    volumes = _volumes(1)
    volumes[0, 0, 2, 2, 2:5] = 0.37
    result = random_contrast_curve(volumes, _seeded(0))
    assert torch.unique(result[0, 0, 2, 2, 2:5]).numel() == 1


def test_monotone_curves_keep_or_reverse_the_order_with_equal_chance() -> None:
    ramp = torch.linspace(0.01, 1, 27).view(1, 1, 3, 3, 3).expand(64, -1, -1, -1, -1)
    steps = random_contrast_curve(ramp, _seeded(0), monotone_probability=1.0).flatten(1).diff(dim=1)
    rising, falling = (steps >= 0).all(dim=1), (steps <= 0).all(dim=1)
    assert bool((rising ^ falling).all())
    assert 20 <= int(rising.sum()) <= 44


def test_free_curves_rise_and_fall() -> None:
    ramp = torch.linspace(0.01, 1, 27).view(1, 1, 3, 3, 3).expand(64, -1, -1, -1, -1)
    steps = random_contrast_curve(ramp, _seeded(0), monotone_probability=0.0).flatten(1).diff(dim=1)
    both = (steps > 1e-4).any(dim=1) & (steps < -1e-4).any(dim=1)
    # Five random knots are sorted by accident in 2 of 5! = 120 cases.
    assert int(both.sum()) >= 58


def test_a_curve_spans_all_intensities() -> None:
    # Two knots: 0 and 1 are mapped to 0 and 1 or to 1 and 0, the middle stays; 0 itself is background.
    volumes = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 4, 1, 1)
    curves = {
        tuple(random_contrast_curve(volumes, _seeded(seed), num_knots=2).flatten().tolist()) for seed in range(20)
    }
    assert curves == {(0.0, 0.25, 0.5, 1.0), (0.0, 0.75, 0.5, 0.0)}


def test_a_curve_of_one_knot_is_refused() -> None:
    with pytest.raises(ValueError, match="num_knots=1"):
        random_contrast_curve(_volumes(), _seeded(0), num_knots=1)
