"""First weights follow from the seed alone and touch nobody else's randomness."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffuse_uda.config import DenoiserConfig, GridConfig, SegmenterConfig, StudyConfig
from diffuse_uda.models import build_denoiser, build_model, build_segmenter, initial_weights
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.types import ModelName, StateDict

TINY = StudyConfig(
    grid=GridConfig(patch_size=(16, 16, 16)),
    segmenter=SegmenterConfig(channels=(4, 8)),
    denoiser=DenoiserConfig(channels=(8, 16), attention_levels=(False, False), num_groups=4),
)


def equal(first: StateDict, second: StateDict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", list(ModelName))
def test_equal_seeds_give_equal_weights_and_other_seeds_others(name: ModelName) -> None:
    other = TINY.model_copy(update={"seed": 1})
    assert equal(initial_weights(TINY, name, 3), initial_weights(TINY, name, 3))
    assert not equal(initial_weights(TINY, name, 3), initial_weights(other, name, 3))


def test_the_global_generator_stays_where_it_was() -> None:
    before = torch.get_rng_state()
    initial_weights(TINY, ModelName.SEGMENTER, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list(ModelName))
def test_first_weights_fit_the_model_of_that_name(name: ModelName) -> None:
    weights = initial_weights(TINY, name, 3)
    model = build_model(TINY, name, 3)
    model.load_state_dict(weights)
    assert isinstance(model, Denoiser) == (name is ModelName.DENOISER)
    assert not any(tensor.requires_grad for tensor in weights.values())


def test_the_builders_by_name_are_the_builders_by_part() -> None:
    def shapes(model: nn.Module) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in model.state_dict().items()}

    assert shapes(build_model(TINY, ModelName.SEGMENTER, 3)) == shapes(build_segmenter(TINY.segmenter, 3))
    assert shapes(build_model(TINY, ModelName.DENOISER, 3)) == shapes(build_denoiser(TINY.denoiser, 3))
