"""Samplers: from noise to a volume, given any callable that plays the denoiser.

The callable is all a sampler knows; label map and domain are bound to it by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.diffusion import recover_clean

Volumes = Float[Tensor, "batch channel i j k"]
AlphasCumprod = Float[Tensor, " timestep"]
VelocityFn = Callable[[Volumes, Float[Tensor, " batch"]], Volumes]
"""(x_t, t in (0, 1] a case) -> estimate of x_0 - epsilon."""
NoiseFn = Callable[[Volumes, Int[Tensor, " batch"]], Volumes]
"""(x_t, timestep a case) -> estimate of epsilon."""

CLEAN_RANGE = (-1.0, 1.0)
"""Intensities of a clean volume. Clamping to it tames the estimates at the noisiest steps, which magnify errors."""


@torch.no_grad()
def sample_flow_euler(
    velocity_fn: VelocityFn, noise: Volumes, num_inference_steps: int, *, start_time: float = 1.0
) -> Volumes:
    """Integrate dx/dt = epsilon - x_0 from noise (t = 1) to clean (t = 0) by Euler (Liu et al. 2022, arXiv:2209.03003).

    Args:
        velocity_fn: The denoiser; called with times falling from `start_time` to `start_time / num_inference_steps`.
        noise: Standard normal noise; or, with an earlier start, `flow_noisy(volume, noise, start_time)`.
        num_inference_steps: Equal steps to take, at least 1; 10 to 20 serve well.
        start_time: Where on the line the input lies, in (0, 1].

    Returns:
        The generated volumes.

    Raises:
        ValueError: If there are no steps to take or the start is outside (0, 1].
    """
    _require_steps(num_inference_steps)
    _require_on_line("start_time", start_time)
    volumes, step = noise, start_time / num_inference_steps
    for remaining in range(num_inference_steps, 0, -1):
        times = torch.full((noise.shape[0],), remaining * step, dtype=noise.dtype, device=noise.device)
        volumes = volumes + step * velocity_fn(volumes, times)
    return volumes


@torch.no_grad()
def encode_flow_euler(
    velocity_fn: VelocityFn, volumes: Volumes, num_inference_steps: int, *, end_time: float = 1.0
) -> Volumes:
    """Follow the flow from clean towards noise, the way `sample_flow_euler` comes back (DDIB, arXiv:2203.08382).

    Each step takes the velocity at its end, the time that the step back will ask for: so no step asks for t = 0, and
    where the velocity does not depend on where one is, the way back undoes the way there exactly.

    Args:
        velocity_fn: The denoiser; called with times rising from `end_time / num_inference_steps` to `end_time`.
        volumes: Clean volumes.
        num_inference_steps: Equal steps to take, at least 1.
        end_time: How far to go, in (0, 1].

    Returns:
        What the flow carries the volumes to.

    Raises:
        ValueError: If there are no steps to take or the end is outside (0, 1].
    """
    _require_steps(num_inference_steps)
    _require_on_line("end_time", end_time)
    step = end_time / num_inference_steps
    for done in range(1, num_inference_steps + 1):
        times = torch.full((volumes.shape[0],), done * step, dtype=volumes.dtype, device=volumes.device)
        volumes = volumes - step * velocity_fn(volumes, times)
    return volumes


@torch.no_grad()
def sample_ddpm(
    noise_fn: NoiseFn,
    noise: Volumes,
    alphas_cumprod: AlphasCumprod,
    generator: torch.Generator,
    *,
    clean_range: tuple[float, float] = CLEAN_RANGE,
) -> Volumes:
    """Ancestral sampling through every timestep (Ho et al. 2020, arXiv:2006.11239, algorithm 2, eq. 6 and 7).

    Steps cannot be skipped: the posterior q(x_{t-1} | x_t, x_0) holds between neighbours. Use `sample_ddim` for that.

    Args:
        noise_fn: The denoiser; called with timesteps T - 1, ..., 0.
        noise: Standard normal noise.
        alphas_cumprod: The schedule that the denoiser was trained with.
        generator: Source of the noise that each step adds back.
        clean_range: Lowest and highest clean intensity; estimates of x_0 are clamped to it.

    Returns:
        The generated volumes.
    """
    volumes = noise
    for timestep in range(len(alphas_cumprod) - 1, 0, -1):
        clean, _ = _estimate_clean(noise_fn, volumes, timestep, alphas_cumprod, clean_range)
        signal, signal_next = float(alphas_cumprod[timestep]), float(alphas_cumprod[timestep - 1])
        alpha = signal / signal_next
        beta = 1.0 - alpha
        mean = (signal_next**0.5 * beta * clean + alpha**0.5 * (1.0 - signal_next) * volumes) / (1.0 - signal)
        variance = beta * (1.0 - signal_next) / (1.0 - signal)
        fresh = torch.randn(noise.shape, generator=generator, device=generator.device, dtype=noise.dtype)
        volumes = mean + variance**0.5 * fresh.to(noise.device)
    return _estimate_clean(noise_fn, volumes, 0, alphas_cumprod, clean_range)[0]


@torch.no_grad()
def sample_ddim(
    noise_fn: NoiseFn,
    noise: Volumes,
    alphas_cumprod: AlphasCumprod,
    num_inference_steps: int,
    *,
    clean_range: tuple[float, float] = CLEAN_RANGE,
) -> Volumes:
    """Deterministic sampling over a part of the timesteps (Song et al. 2021, arXiv:2010.02502, eq. 12 with sigma = 0).

    Args:
        noise_fn: The denoiser; called with `num_inference_steps` timesteps spread evenly from T - 1 to 0.
        noise: Standard normal noise; one noise always gives one volume.
        alphas_cumprod: The schedule that the denoiser was trained with.
        num_inference_steps: Steps to take, in [1, T].
        clean_range: Lowest and highest clean intensity; estimates of x_0 are clamped to it.

    Returns:
        The generated volumes.

    Raises:
        ValueError: If there are fewer than 1 or more than T steps.
    """
    num_train_timesteps = len(alphas_cumprod)
    _require_steps(num_inference_steps)
    if num_inference_steps > num_train_timesteps:
        msg = f"cannot take {num_inference_steps} different steps: the schedule has {num_train_timesteps}"
        raise ValueError(msg)
    spread = torch.linspace(num_train_timesteps - 1, 0, num_inference_steps, dtype=torch.float64)
    timesteps = [int(timestep) for timestep in spread.round()]
    volumes = noise
    # The step must end where the next one begins; a fixed stride T // n would not, and leaves noise behind.
    for timestep, timestep_next in pairwise(timesteps):
        clean, estimated_noise = _estimate_clean(noise_fn, volumes, timestep, alphas_cumprod, clean_range)
        signal_next = float(alphas_cumprod[timestep_next])
        volumes = signal_next**0.5 * clean + (1.0 - signal_next) ** 0.5 * estimated_noise
    return _estimate_clean(noise_fn, volumes, timesteps[-1], alphas_cumprod, clean_range)[0]


def _estimate_clean(
    noise_fn: NoiseFn,
    volumes: Volumes,
    timestep: int,
    alphas_cumprod: AlphasCumprod,
    clean_range: tuple[float, float],
) -> tuple[Volumes, Volumes]:
    """Ask the denoiser once: the clean volumes it implies, clamped, and the noise it sees."""
    timesteps = torch.full((volumes.shape[0],), timestep, dtype=torch.int64, device=volumes.device)
    noise = noise_fn(volumes, timesteps)
    return recover_clean(volumes, noise, timesteps, alphas_cumprod).clamp(*clean_range), noise


def _require_steps(num_inference_steps: int) -> None:
    """Refuse to sample in no steps at all, which would hand the noise back."""
    if num_inference_steps < 1:
        msg = f"num_inference_steps must be at least 1, got {num_inference_steps}"
        raise ValueError(msg)


def _require_on_line(name: str, time: float) -> None:
    if not 0.0 < time <= 1.0:
        msg = f"{name} must be in (0, 1], got {time}"
        raise ValueError(msg)
