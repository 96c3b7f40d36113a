"""Laws of noising: what goes in comes out, and the schedules run from clean to noise."""

from __future__ import annotations

import math

import pytest
import torch

from diffuse_uda.algorithms.diffusion import (
    add_noise,
    cosine_alphas_cumprod,
    flow_clean,
    flow_noisy,
    flow_target,
    random_timesteps,
    recover_clean,
    stratified_times,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CLEAN = torch.rand((3, 1, 4, 4, 4), generator=seeded(0)) * 2 - 1
NOISE = torch.randn((3, 1, 4, 4, 4), generator=seeded(1))


def test_the_flow_runs_straight_from_clean_to_noise() -> None:
    noisy = flow_noisy(CLEAN, NOISE, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(noisy[0], CLEAN[0])
    torch.testing.assert_close(noisy[1], 0.75 * CLEAN[1] + 0.25 * NOISE[1])
    torch.testing.assert_close(noisy[2], NOISE[2])


def test_the_flow_target_leads_from_anywhere_on_the_line_to_the_clean_volume() -> None:
    times = torch.tensor([0.1, 0.5, 1.0])
    recovered = flow_clean(flow_noisy(CLEAN, NOISE, times), flow_target(CLEAN, NOISE), times)
    torch.testing.assert_close(recovered, CLEAN, atol=1e-6, rtol=0)


def test_every_part_of_the_time_axis_is_drawn_once() -> None:
    times = stratified_times(8, seeded(0))
    assert sorted((times * 8).long().tolist()) == list(range(8))


def test_no_place_in_the_batch_has_a_noise_level_of_its_own() -> None:
    generator = seeded(0)
    first = torch.stack([stratified_times(4, generator)[0] for _ in range(2000)])
    # Uniform on [0, 1): mean 1/2, standard deviation sqrt(1/12) = 0.289.
    assert first.mean().item() == pytest.approx(0.5, abs=0.02)
    assert first.std().item() == pytest.approx(math.sqrt(1 / 12), abs=0.01)


def test_equal_seeds_draw_equal_times() -> None:
    assert torch.equal(stratified_times(5, seeded(3)), stratified_times(5, seeded(3)))
    assert torch.equal(random_timesteps(5, 250, seeded(3)), random_timesteps(5, 250, seeded(3)))
    assert not torch.equal(stratified_times(5, seeded(3)), stratified_times(5, seeded(4)))


def test_random_timesteps_reach_both_ends() -> None:
    timesteps = random_timesteps(1000, 5, seeded(0))
    assert set(timesteps.tolist()) == {0, 1, 2, 3, 4}


def test_the_cosine_schedule_falls_from_almost_one_to_almost_nothing() -> None:
    signal = cosine_alphas_cumprod(250)
    assert (signal.diff() < 0).all()
    assert signal[0].item() > 0.999
    assert 0.0 < signal[-1].item() < 1e-7
    # Half of the way: cos^2 of (0.5 + 0.008) / 1.008 * 90 degrees, over its value at the start.
    start, half = (math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0.0, 0.5))
    assert signal[124].item() == pytest.approx(half / start)


def test_a_schedule_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="num_train_timesteps must be at least 1, got 0"):
        cosine_alphas_cumprod(0)


def test_noise_is_mixed_in_by_its_share_of_the_variance() -> None:
    # A signal share of 0.64 keeps 0.8 of the volume and adds 0.6 of the noise.
    noisy = add_noise(CLEAN, NOISE, torch.tensor([1, 1, 1]), torch.tensor([0.99, 0.64, 0.01]))
    torch.testing.assert_close(noisy, 0.8 * CLEAN + 0.6 * NOISE)


def test_known_noise_is_removed_exactly() -> None:
    alphas_cumprod, timesteps = cosine_alphas_cumprod(250), torch.tensor([0, 125, 240])
    noisy = add_noise(CLEAN, NOISE, timesteps, alphas_cumprod)
    torch.testing.assert_close(recover_clean(noisy, NOISE, timesteps, alphas_cumprod), CLEAN, atol=1e-4, rtol=0)


def test_half_precision_volumes_leave_the_schedule_alone() -> None:
    alphas_cumprod = cosine_alphas_cumprod(250)
    before = alphas_cumprod.clone()
    noisy = add_noise(CLEAN.bfloat16(), NOISE.bfloat16(), torch.tensor([5, 100, 249]), alphas_cumprod)
    assert noisy.dtype == torch.bfloat16
    assert alphas_cumprod.dtype == torch.float64
    assert torch.equal(alphas_cumprod, before)
