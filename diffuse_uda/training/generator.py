"""Training loss and rendering of the denoiser, for the recipe of the study."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffuse_uda.algorithms.diffusion import (
    add_noise,
    cosine_alphas_cumprod,
    flow_noisy,
    flow_target,
    random_timesteps,
    stratified_times,
)
from diffuse_uda.algorithms.losses import weighted_flow_loss
from diffuse_uda.algorithms.sampling import VelocityFn, encode_flow_euler, sample_ddpm, sample_flow_euler
from diffuse_uda.config import DiffusionConfig
from diffuse_uda.models.denoiser import Denoiser, label_channels
from diffuse_uda.training.batches import Batch

TIME_SCALE = 1000.0
"""The sinusoidal embedding expects times up to about a thousand."""


def denoising_loss(model: Denoiser, batch: Batch, diffusion: DiffusionConfig, generator: torch.Generator) -> Tensor:
    """Loss of one step of the generator.

    `rectified-flow`: squared error of the clean image x_0, or of the velocity x_0 - epsilon (arXiv:2209.03003). `ddpm`:
    absolute error of epsilon (Ho et al. 2020 with the L1 norm of Med-DDPM). Both weigh every voxel by how much its
    label is trusted.
    """
    clean = batch.images * 2 - 1
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    condition = label_channels(batch.label_map, batch.images > 0, model.num_classes)
    if diffusion.recipe == "rectified-flow":
        times = stratified_times(len(clean), generator).to(clean.device)
        prediction = model(flow_noisy(clean, noise, times), times * TIME_SCALE, condition, batch.domains)
        target = clean if diffusion.prediction_type == "sample" else flow_target(clean, noise)
        return weighted_flow_loss(prediction, target, batch.voxel_weight, norm="l2")
    alphas_cumprod = cosine_alphas_cumprod(diffusion.num_train_timesteps).to(clean.device)
    timesteps = random_timesteps(len(clean), diffusion.num_train_timesteps, generator).to(clean.device)
    noisy = add_noise(clean, noise, timesteps, alphas_cumprod)
    prediction = model(noisy, _scaled(timesteps, diffusion), condition, batch.domains)
    return weighted_flow_loss(prediction, noise, batch.voxel_weight, norm="l1")


@torch.no_grad()
def render(
    model: Denoiser,
    label_map: Int[Tensor, "batch 1 i j k"],
    domains: Int[Tensor, " batch"],
    diffusion: DiffusionConfig,
    generator: torch.Generator,
    *,
    body: Bool[Tensor, "batch 1 i j k"],
) -> Float[Tensor, "batch 1 i j k"]:
    """Render images of label maps in the look of the given domains.

    Args:
        model: The denoiser, on the device to use.
        label_map: What to render, on the same device.
        domains: Index of the site to look like, one a label map.
        diffusion: Recipe and steps.
        generator: CPU generator of the noise.
        body: What the image is to show; the rest is air. Structures are part of it in any case.

    Returns:
        Intensities in [0, 1], exactly 0 outside the body, on the model's device.
    """
    model.eval()
    noise = torch.randn(label_map.shape, generator=generator).to(label_map.device)
    if diffusion.recipe == "rectified-flow":
        velocity = _velocity(model, label_map, body, domains, diffusion)
        images = sample_flow_euler(velocity, noise, diffusion.num_inference_steps)
    else:
        condition = label_channels(label_map, body, model.num_classes)
        images = sample_ddpm(
            lambda noisy, timesteps: cast("Tensor", model(noisy, _scaled(timesteps, diffusion), condition, domains)),
            noise,
            cosine_alphas_cumprod(diffusion.num_train_timesteps).to(label_map.device),
            generator,
        )
    return _shown(images, label_map, body)


@torch.no_grad()
def translate(
    model: Denoiser,
    images: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
    domains: tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]],
    *,
    diffusion: DiffusionConfig,
    generator: torch.Generator,
    strength: float,
    encodes: bool = False,
) -> Float[Tensor, "batch 1 i j k"]:
    """Show images in the look of other domains: part of the way to noise in their own, and back in the other.

    Args:
        model: The denoiser, on the device to use; trained with the recipe `rectified-flow`.
        images: Intensities in [0, 1].
        label_map: Their labels or pseudo-labels.
        domains: Index of the site whose look they have, and of the one whose look is wanted, for every image.
        diffusion: Recipe and steps.
        generator: CPU generator of the noise.
        strength: How far to go, in (0, 1]; 1 leaves nothing of the image but its label map.
        encodes: Whether to follow the flow of the own domain (DDIB, arXiv:2203.08382: nothing is drawn) instead of
            adding noise (SDEdit, arXiv:2108.01073).

    Returns:
        Intensities in [0, 1]; air stays air.
    """
    model.eval()
    body, clean = images > 0, images * 2 - 1
    own, wanted = domains
    if encodes:
        velocity = _velocity(model, label_map, body, own, diffusion)
        noisy = encode_flow_euler(velocity, clean, diffusion.num_inference_steps, end_time=strength)
    else:
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        noisy = flow_noisy(clean, noise, torch.full((images.shape[0],), strength, device=images.device))
    velocity = _velocity(model, label_map, body, wanted, diffusion)
    shown = sample_flow_euler(velocity, noisy, diffusion.num_inference_steps, start_time=strength)
    return _shown(shown, label_map, body)


def _velocity(
    model: Denoiser, label_map: Tensor, body: Tensor, domains: Tensor, diffusion: DiffusionConfig
) -> VelocityFn:
    """The model as a sampler wants it: with label map, body and domain bound to it."""
    condition = label_channels(label_map, body, model.num_classes)

    def velocity(noisy: Tensor, times: Tensor) -> Tensor:
        prediction: Tensor = model(noisy, times * TIME_SCALE, condition, domains)
        if diffusion.prediction_type != "sample":
            return prediction
        # x_t = (1 - t) x_0 + t epsilon, hence x_0 - epsilon = (x_0 - x_t) / t; no sampler asks for t = 0
        return (prediction - noisy) / times.view(-1, 1, 1, 1, 1)

    return velocity


def _shown(images: Tensor, label_map: Tensor, body: Tensor) -> Tensor:
    return ((images + 1) / 2).clamp(0.0, 1.0) * (body | (label_map > 0))


def _scaled(timesteps: Tensor, diffusion: DiffusionConfig) -> Tensor:
    return timesteps.to(torch.float32) * (TIME_SCALE / diffusion.num_train_timesteps)
