"""How a clean volume is noised and what the denoiser has to answer: rectified flow, and the DDPM of Diffuse-UDA.

Rectified flow is the default (it needs fewer steps); DDPM with 250 steps, a cosine schedule and epsilon-prediction
is what the paper trained. Notation: clean = x_0, noise = epsilon ~ N(0, I), noisy = x_t.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

Volumes = Float[Tensor, "batch channel i j k"]
Times = Float[Tensor, " batch"]
Timesteps = Int[Tensor, " batch"]
AlphasCumprod = Float[Tensor, " timestep"]

COSINE_OFFSET = 0.008
"""s of Nichol and Dhariwal 2021: keeps the first noise levels from being vanishingly small."""

BETA_MAX = 0.999
"""Largest variance added in one step; without it the last step would erase the signal beyond recovery."""


def flow_noisy(clean: Volumes, noise: Volumes, times: Times) -> Volumes:
    """Walk the straight line x_t = (1 - t) x_0 + t epsilon (Liu et al. 2022, arXiv:2209.03003, eq. 1).

    Args:
        clean: Volumes x_0.
        noise: Standard normal noise of the same shape.
        times: One t a case, in [0, 1]; 0 is the clean volume and 1 is noise.

    Returns:
        The noisy volumes x_t.
    """
    return clean.lerp(noise, _per_case(times, clean))


def flow_target(clean: Volumes, noise: Volumes) -> Volumes:
    """What the denoiser learns to predict: the velocity x_0 - epsilon, from the noise towards the volume."""
    return clean - noise


def flow_clean(noisy: Volumes, velocity: Volumes, times: Times) -> Volumes:
    """Follow the velocity x_0 - epsilon to its end: x_0 = x_t + t (x_0 - epsilon)."""
    return noisy + _per_case(times, noisy) * velocity


def stratified_times(batch_size: int, generator: torch.Generator) -> Times:
    """Draw one time from each of `batch_size` equal parts of [0, 1), in random order.

    Every batch covers all noise levels, which lowers the variance of the loss. The order is random because
    a batch is ordered too (source first, targets after): no domain may always get the low noise levels.

    Args:
        batch_size: Number of cases, at least 1.
        generator: Source of randomness; the times are on its device.

    Returns:
        Times whose marginal law is uniform on [0, 1).
    """
    device = generator.device
    part = torch.randperm(batch_size, generator=generator, device=device)
    return (part + torch.rand(batch_size, generator=generator, device=device)) / batch_size


def cosine_alphas_cumprod(num_train_timesteps: int) -> AlphasCumprod:
    """Cosine noise schedule of Nichol and Dhariwal 2021 (arXiv:2102.09672, eq. 17).

    Args:
        num_train_timesteps: Length T of the schedule; 250 in Diffuse-UDA.

    Returns:
        The product of 1 - beta up to every timestep, falling from almost 1 to almost 0. It is in float64, because
        1 - alphas_cumprod cancels where the product is close to 1: keep it there.

    Raises:
        ValueError: If the schedule has no step.
    """
    if num_train_timesteps < 1:
        msg = f"num_train_timesteps must be at least 1, got {num_train_timesteps}"
        raise ValueError(msg)
    steps = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    signal = torch.cos((steps + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * math.pi / 2.0).square()
    betas = (1.0 - signal[1:] / signal[:-1]).clamp(max=BETA_MAX)
    return (1.0 - betas).cumprod(dim=0)


def random_timesteps(batch_size: int, num_train_timesteps: int, generator: torch.Generator) -> Timesteps:
    """Draw one timestep a case, uniformly from [0, num_train_timesteps), on the generator's device."""
    return torch.randint(num_train_timesteps, (batch_size,), generator=generator, device=generator.device)


def add_noise(clean: Volumes, noise: Volumes, timesteps: Timesteps, alphas_cumprod: AlphasCumprod) -> Volumes:
    """Sample x_t ~ q(x_t | x_0) = sqrt(a_t) x_0 + sqrt(1 - a_t) epsilon (Ho et al. 2020, arXiv:2006.11239, eq. 4).

    Args:
        clean: Volumes x_0.
        noise: Standard normal noise of the same shape.
        timesteps: One index into the schedule a case; 0 is the least noise.
        alphas_cumprod: The schedule a_t.

    Returns:
        The noisy volumes x_t, in the precision of `clean`; the schedule itself is never cast down.
    """
    signal = alphas_cumprod[timesteps.to(alphas_cumprod.device)]
    return _per_case(signal.sqrt(), clean) * clean + _per_case((1.0 - signal).sqrt(), clean) * noise


def recover_clean(noisy: Volumes, noise: Volumes, timesteps: Timesteps, alphas_cumprod: AlphasCumprod) -> Volumes:
    """Undo `add_noise` for known (or predicted) noise (Ho et al. 2020, eq. 15).

    Args:
        noisy: Volumes x_t.
        noise: The noise in them, as it was added or as the denoiser predicts it.
        timesteps: One index into the schedule a case.
        alphas_cumprod: The schedule a_t.

    Returns:
        The clean volumes x_0. Errors of `noise` are magnified by sqrt((1 - a_t) / a_t): thousands at the last steps.
    """
    signal = alphas_cumprod[timesteps.to(alphas_cumprod.device)]
    return (noisy - _per_case((1.0 - signal).sqrt(), noisy) * noise) / _per_case(signal.sqrt(), noisy)


def _per_case(values: Float[Tensor, " batch"], volumes: Volumes) -> Float[Tensor, "batch 1 1 1 1"]:
    """Shape one number a case so that it multiplies whole volumes, on their device and in their precision."""
    return values.to(volumes).view(-1, 1, 1, 1, 1)
