"""Critics ride on the segmenter: they see its decoder, and each side's gradient stays its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffuse_uda.config import SegmenterConfig, StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.models import build_model
from diffuse_uda.models.critics import CriticisedSegmenter, decoder_levels, verdicts
from diffuse_uda.models.segmenter import build_segmenter
from diffuse_uda.types import ModelName

UNET = SegmenterConfig(channels=(4, 8, 16, 16))
SEGRESNET = SegmenterConfig(kind="segresnet", channels=(8,), blocks_down=(1, 1, 1), blocks_up=(1, 1), num_groups=4)
VOLUMES = torch.rand((2, 1, 32, 32, 32), generator=torch.Generator().manual_seed(0))


def criticised(config: SegmenterConfig) -> CriticisedSegmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CriticisedSegmenter(build_segmenter(config, 3), config)


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (UNET, [(2, 4, 16, 16, 16), (2, 8, 8, 8, 8)]),
        (UNET.model_copy(update={"stem": 2, "channels": (4, 8, 8, 8)}), [(2, 4, 8, 8, 8), (2, 8, 4, 4, 4)]),
        (SEGRESNET, [(2, 8, 32, 32, 32), (2, 16, 16, 16, 16)]),
    ],
)
def test_two_levels_of_the_decoder_are_seen_finest_first(
    config: SegmenterConfig, shapes: list[tuple[int, ...]]
) -> None:
    model = criticised(config)
    logits, features = model.with_features(VOLUMES)
    assert [tuple(part.shape) for part in features] == shapes
    assert torch.equal(logits, model(VOLUMES))
    answers = verdicts(model.intra, features, learns=True)
    assert [tuple(part.shape) for part in answers] == [(2, 1, *shape[2:]) for shape in shapes]


def test_looking_at_features_leaves_nothing_behind() -> None:
    model = criticised(UNET)
    model.with_features(VOLUMES)
    _, features = model.with_features(VOLUMES)
    assert len(features) == 2
    assert all(not level._forward_hooks for level in decoder_levels(model.segmenter))


@pytest.mark.parametrize("learns", [True, False])
def test_a_gradient_goes_to_the_critics_or_to_the_student_never_to_both(*, learns: bool) -> None:
    model = criticised(UNET)
    _, features = model.with_features(VOLUMES)
    sum(part.square().mean() for part in verdicts(model.intra, features, learns=learns)).backward()  # type: ignore[union-attr]
    has_gradient = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert has_gradient == ({"intra"} if learns else {"segmenter"})


def test_critics_travel_with_the_segmenter_of_le_uda_and_no_other() -> None:
    def segmenter(**flat: str | float) -> nn.Module:
        return build_model(StudyConfig.from_flat(flat), ModelName.SEGMENTER, 3)

    assert isinstance(segmenter(method="le-uda"), CriticisedSegmenter)
    for other in (
        segmenter(method="diffuse-uda"),
        segmenter(method="le-uda", **{"ensemble.adversarial-weight": 0.0}),
    ):
        assert not isinstance(other, CriticisedSegmenter)


@pytest.mark.parametrize("segmenter", [build_segmenter(SegmenterConfig(channels=(4, 8)), 3), nn.Identity()])
def test_a_decoder_that_is_too_shallow_or_unknown_is_refused(segmenter: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"more entries|need a UNet or a SegResNet, found Identity"):
        decoder_levels(segmenter)
