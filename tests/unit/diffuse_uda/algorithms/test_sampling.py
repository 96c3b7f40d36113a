"""Samplers are judged with exact denoisers: then what comes out is known.

If every voxel of the data is N(0.5, 0.1^2), the best possible denoiser is a formula, and a sampler must bring
back that mean and that standard deviation (10 648 voxels a case: their error is about 0.001).
"""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.diffusion import cosine_alphas_cumprod, flow_noisy
from diffuse_uda.algorithms.sampling import encode_flow_euler, sample_ddim, sample_ddpm, sample_flow_euler

Volumes = Float[Tensor, "batch channel i j k"]

MEAN, STD = 0.5, 0.1
SCHEDULE = cosine_alphas_cumprod(250)
NOISE = torch.randn((2, 1, 22, 22, 22), generator=torch.Generator().manual_seed(0))


def exact_velocity(noisy: Volumes, times: Float[Tensor, " batch"]) -> Volumes:
    """E[x_0 - epsilon | x_t] for Gaussian data on the straight line."""
    t = times.view(-1, 1, 1, 1, 1)
    surprise = (noisy - (1 - t) * MEAN) / ((1 - t) ** 2 * STD**2 + t**2)
    return MEAN + (1 - t) * STD**2 * surprise - t * surprise


def exact_noise(noisy: Volumes, timesteps: Int[Tensor, " batch"]) -> Volumes:
    """E[epsilon | x_t] for Gaussian data under the cosine schedule."""
    signal = SCHEDULE[timesteps].to(noisy).view(-1, 1, 1, 1, 1)
    return (1 - signal).sqrt() * (noisy - signal.sqrt() * MEAN) / (signal * STD**2 + 1 - signal)


def test_euler_recovers_the_law_of_the_data() -> None:
    volumes = sample_flow_euler(exact_velocity, NOISE, 200)
    assert volumes.mean().item() == pytest.approx(MEAN, abs=0.003)
    assert volumes.std().item() == pytest.approx(STD, rel=0.04)


def test_one_euler_step_gives_the_mean_of_the_data() -> None:
    # From pure noise nothing is known about the volume: the whole step leads to its mean.
    volumes = sample_flow_euler(exact_velocity, NOISE, 1)
    torch.testing.assert_close(volumes, torch.full_like(volumes, MEAN), atol=1e-6, rtol=0)


def test_more_euler_steps_come_closer() -> None:
    missing = [STD - sample_flow_euler(exact_velocity, NOISE, steps).std().item() for steps in (5, 10, 20, 40)]
    assert missing == sorted(missing, reverse=True)
    assert missing[-1] > 0


def test_a_single_volume_is_reached_in_one_step_from_any_start() -> None:
    # When all the data are one volume the flow is straight, and Euler is exact.
    volume = torch.linspace(-1, 1, 8).view(1, 1, 2, 2, 2)
    noise = NOISE[:1, :, :2, :2, :2]
    for start_time in (1.0, 0.4):
        start = flow_noisy(volume, noise, torch.tensor([start_time]))
        reached = sample_flow_euler(
            lambda noisy, times: (volume - noisy) / times.view(-1, 1, 1, 1, 1), start, 1, start_time=start_time
        )
        torch.testing.assert_close(reached, volume, atol=1e-6, rtol=0)


def test_euler_asks_at_the_times_where_it_is() -> None:
    asked: list[float] = []

    def record(noisy: Volumes, times: Float[Tensor, " batch"]) -> Volumes:
        asked.append(times[0].item())
        return torch.zeros_like(noisy)

    volumes = sample_flow_euler(record, NOISE, 4, start_time=0.8)
    assert asked == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert torch.equal(volumes, NOISE)


def test_ancestral_sampling_recovers_the_law_of_the_data() -> None:
    volumes = sample_ddpm(exact_noise, NOISE, SCHEDULE, torch.Generator().manual_seed(1))
    assert volumes.mean().item() == pytest.approx(MEAN, abs=0.003)
    # The smaller of the two variances of Ho et al. is a lower bound: a little of the spread is missing.
    assert volumes.std().item() == pytest.approx(STD, rel=0.08)


def test_ancestral_sampling_draws_from_the_generator_alone() -> None:
    small = NOISE[:1, :, :3, :3, :3]

    def sample(seed: int) -> Volumes:
        return sample_ddpm(exact_noise, small, SCHEDULE, torch.Generator().manual_seed(seed))

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))


def test_ddim_recovers_the_law_of_the_data() -> None:
    volumes = sample_ddim(exact_noise, NOISE, SCHEDULE, 250)
    assert volumes.mean().item() == pytest.approx(MEAN, abs=0.003)
    assert volumes.std().item() == pytest.approx(STD, rel=0.05)


@pytest.mark.parametrize("num_inference_steps", [2, 3, 7, 10, 25])
def test_few_ddim_steps_leave_no_noise_behind(num_inference_steps: int) -> None:
    # With an inconsistent stride the spread comes out too large; with the right one it is never above the data's.
    volumes = sample_ddim(exact_noise, NOISE, SCHEDULE, num_inference_steps)
    assert volumes.mean().item() == pytest.approx(MEAN, abs=0.003)
    assert volumes.std().item() < STD


def test_ddim_walks_down_the_whole_schedule() -> None:
    asked: list[int] = []

    def record(noisy: Volumes, timesteps: Int[Tensor, " batch"]) -> Volumes:
        asked.append(int(timesteps[0]))
        return exact_noise(noisy, timesteps)

    sample_ddim(record, NOISE, SCHEDULE, 4)
    assert asked == [249, 166, 83, 0]


def test_ddim_with_known_noise_returns_the_volume() -> None:
    # One volume as data: the noise in x_t is known, and every number of steps must lead back to that volume.
    volume = torch.linspace(-0.9, 0.9, 8).view(1, 1, 2, 2, 2)

    def known_noise(noisy: Volumes, timesteps: Int[Tensor, " batch"]) -> Volumes:
        signal = SCHEDULE[timesteps].to(noisy).view(-1, 1, 1, 1, 1)
        return (noisy - signal.sqrt() * volume) / (1 - signal).sqrt()

    for num_inference_steps in (2, 9, 250):
        reached = sample_ddim(known_noise, NOISE[:1, :, :2, :2, :2], SCHEDULE, num_inference_steps)
        torch.testing.assert_close(reached, volume, atol=1e-3, rtol=0)


def test_estimates_are_kept_in_the_range_of_clean_volumes() -> None:
    def blind(noisy: Volumes, _: Int[Tensor, " batch"]) -> Volumes:
        return torch.zeros_like(noisy)

    small = NOISE[:1, :, :3, :3, :3]
    generator = torch.Generator().manual_seed(0)
    for volumes in (
        sample_ddim(blind, small, SCHEDULE, 5, clean_range=(-0.5, 0.5)),
        sample_ddpm(blind, small, SCHEDULE, generator, clean_range=(-0.5, 0.5)),
    ):
        assert volumes.abs().max().item() <= 0.5


def test_sampling_needs_no_gradient_memory() -> None:
    scale = torch.ones(1, requires_grad=True)
    volumes = sample_flow_euler(lambda noisy, _: scale * noisy, NOISE, 2)
    assert not volumes.requires_grad
    # Unlike inference mode, this lets a segmenter train on what was sampled.
    (volumes * scale).sum().backward()  # type: ignore[no-untyped-call]


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="num_inference_steps must be at least 1, got 0"):
        sample_flow_euler(exact_velocity, NOISE, 0)
    with pytest.raises(ValueError, match="num_inference_steps must be at least 1, got 0"):
        sample_ddim(exact_noise, NOISE, SCHEDULE, 0)
    with pytest.raises(ValueError, match="cannot take 251 different steps: the schedule has 250"):
        sample_ddim(exact_noise, NOISE, SCHEDULE, 251)
    with pytest.raises(ValueError, match=r"start_time must be in \(0, 1\], got 0.0"):
        sample_flow_euler(exact_velocity, NOISE, 5, start_time=0.0)


def test_encoding_is_undone_by_sampling_where_the_flow_is_straight() -> None:
    volume = torch.linspace(-1, 1, 8).view(1, 1, 2, 2, 2)
    noise = NOISE[:1, :, :2, :2, :2]
    encoded = encode_flow_euler(lambda _volumes, _times: volume - noise, volume, 5, end_time=0.6)
    torch.testing.assert_close(encoded, flow_noisy(volume, noise, torch.tensor([0.6])))
    decoded = sample_flow_euler(lambda _volumes, _times: volume - noise, encoded, 3, start_time=0.6)
    torch.testing.assert_close(decoded, volume)


def test_encoding_asks_for_the_times_that_the_way_back_asks_for() -> None:
    asked: list[float] = []

    def velocity(volumes: Volumes, times: Float[Tensor, " batch"]) -> Volumes:
        asked.append(round(float(times), 6))
        return volumes

    encode_flow_euler(velocity, NOISE[:1], 4, end_time=0.8)
    sample_flow_euler(velocity, NOISE[:1], 4, start_time=0.8)
    assert asked == [0.2, 0.4, 0.6, 0.8, 0.8, 0.6, 0.4, 0.2]


def test_encoded_data_look_like_noise_and_come_back() -> None:
    data = MEAN + STD * NOISE
    encoded = encode_flow_euler(exact_velocity, data, 100)
    assert encoded.mean().item() == pytest.approx(0.0, abs=0.05)
    assert encoded.std().item() == pytest.approx(1.0, rel=0.1)
    # Euler there and Euler back: a tenth of the data's deviation
    assert float((sample_flow_euler(exact_velocity, encoded, 100) - data).abs().mean()) < 0.1 * STD


@pytest.mark.parametrize(("steps", "end_time"), [(0, 1.0), (4, 0.0), (4, 1.1)])
def test_encoding_needs_steps_and_an_end_on_the_line(steps: int, end_time: float) -> None:
    with pytest.raises(ValueError, match=r"num_inference_steps|end_time"):
        encode_flow_euler(exact_velocity, NOISE, steps, end_time=end_time)
