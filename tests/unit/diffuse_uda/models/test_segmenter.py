"""The segmenter: one logit a class and a voxel, of the size the configuration says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffuse_uda.config import SegmenterConfig, preset
from diffuse_uda.models import build_segmenter

TINY_SEGRESNET = SegmenterConfig(kind="segresnet", channels=(4,), blocks_down=(1, 1), blocks_up=(1,), num_groups=4)


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("config", [SegmenterConfig(channels=(4, 8)), TINY_SEGRESNET], ids=["unet", "segresnet"])
def test_every_kind_and_stem_answers_every_voxel_with_one_logit_a_class(config: SegmenterConfig, stem: int) -> None:
    segmenter = build_segmenter(config.model_copy(update={"stem": stem}), 3)
    assert segmenter(torch.rand(2, 1, 16, 8, 12)).shape == (2, 3, 16, 8, 12)


def test_the_papers_segmenter_has_18_8_million_parameters() -> None:
    with torch.device("meta"):
        segmenter = build_segmenter(preset("paper").segmenter, 5)
    assert round(sum(parameter.numel() for parameter in segmenter.parameters()) / 1e6, 1) == 18.8


@pytest.mark.parametrize("config", [SegmenterConfig(channels=(4, 8)), TINY_SEGRESNET], ids=["unet", "segresnet"])
def test_no_statistic_of_intensities_is_part_of_the_weights(config: SegmenterConfig) -> None:
    assert list(build_segmenter(config, 3).buffers()) == []


@pytest.mark.parametrize("config", [SegmenterConfig(channels=(4, 8)), TINY_SEGRESNET], ids=["unet", "segresnet"])
def test_the_answer_for_a_volume_does_not_depend_on_its_batch(config: SegmenterConfig) -> None:
    segmenter = build_segmenter(config, 3)
    volumes = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(segmenter(volumes)[:1], segmenter(volumes[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [SegmenterConfig(channels=(4, 8)), TINY_SEGRESNET], ids=["unet", "segresnet"])
def test_dropout_is_there_only_when_it_is_asked_for(config: SegmenterConfig) -> None:
    def rates(dropout: float) -> set[float]:
        segmenter = build_segmenter(config.model_copy(update={"dropout": dropout}), 3)
        return {m.p for m in segmenter.modules() if isinstance(m, nn.Dropout | nn.Dropout3d)} - {0.0}

    assert rates(0.0) == set()
    assert rates(0.25) == {0.25}
