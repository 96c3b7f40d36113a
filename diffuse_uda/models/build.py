"""From configuration and a model's name to a network and its first weights."""

from __future__ import annotations

import torch
from torch import nn

from diffuse_uda.config import DenoiserConfig, StudyConfig
from diffuse_uda.models.critics import CriticisedSegmenter
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.models.segmenter import build_segmenter
from diffuse_uda.types import ModelName, StateDict

__all__ = ["build_denoiser", "build_model", "build_segmenter", "initial_weights"]


def build_denoiser(config: DenoiserConfig, num_classes: int) -> Denoiser:
    """Build the diffusion network; `num_classes` counts the background."""
    return Denoiser(config, num_classes)


def build_model(config: StudyConfig, name: ModelName, num_classes: int) -> nn.Module:
    """Build one of the networks that travel."""
    if name is ModelName.SEGMENTER:
        segmenter = build_segmenter(config.segmenter, num_classes)
        return CriticisedSegmenter(segmenter, config.segmenter) if config.has_critics else segmenter
    return build_denoiser(config.denoiser, num_classes)


def initial_weights(config: StudyConfig, name: ModelName, num_classes: int) -> StateDict:
    """First weights of a model: equal for equal seeds, on every machine; the global generator is left as it was.

    Not for two threads at once: MONAI's layers draw from the global generator, which this seeds for a moment.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # MONAI's layers initialise themselves from the global generator
        model = build_model(config, name, num_classes)
    return {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
