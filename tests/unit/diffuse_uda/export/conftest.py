"""A segmenter that needs no training: class 1 where a scan is bright, class 2 where it is very bright."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.config import ComputeConfig, DenoiserConfig, GridConfig, SegmenterConfig, StudyConfig
from diffuse_uda.training.prediction import LoadedSegmenter

LABELS = ("background", "cortical_gm", "Vein of Galen")
SPACING_MM = (2.0, 3.0, 4.0)


class Bright(nn.Module):
    """Class 1 from 0.8 on, class 2 from 0.95 on; the mean of a scan lies at 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(50.0))

    def forward(self, volumes: Tensor) -> Tensor:
        zero = torch.zeros_like(volumes)
        first = self.slope * (volumes - 0.8)
        return torch.cat([zero, first, first + self.slope * (volumes - 0.95)], dim=1)


@pytest.fixture
def study() -> StudyConfig:
    return StudyConfig(
        grid=GridConfig(spacing_mm=SPACING_MM, patch_size=(8, 8, 8)),
        segmenter=SegmenterConfig(channels=(4, 8)),
        denoiser=DenoiserConfig(channels=(8, 16), attention_levels=(False, False), num_groups=4),
        compute=ComputeConfig(device="cpu", num_threads=1),
    )


@pytest.fixture
def bright(study: StudyConfig) -> LoadedSegmenter:
    return LoadedSegmenter(model=Bright(), config=study, label_names=LABELS)
