"""A study so small that one step takes milliseconds."""

from __future__ import annotations

import pytest

from diffuse_uda.config import ComputeConfig, DenoiserConfig, DiffusionConfig, GridConfig, SegmenterConfig, StudyConfig


@pytest.fixture
def study() -> StudyConfig:
    return StudyConfig(
        grid=GridConfig(patch_size=(16, 16, 16)),
        segmenter=SegmenterConfig(channels=(4, 8)),
        denoiser=DenoiserConfig(channels=(8, 16), attention_levels=(False, False), num_groups=4),
        diffusion=DiffusionConfig(num_train_timesteps=6, num_inference_steps=3),
        compute=ComputeConfig(device="cpu", num_threads=1),
    )
