"""Probabilities of a whole volume: one window or many, both sides alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.config import StudyConfig
from diffuse_uda.training.inference import predict_probabilities


class VoxelWise(nn.Module):
    """Logits 0 and 4 (intensity - 1/2): a class where a voxel is bright; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(4.0))
        self.sizes: list[tuple[int, ...]] = []
        self.modes: list[bool] = []

    def forward(self, volumes: Tensor) -> Tensor:
        self.sizes.append(tuple(volumes.shape))
        self.modes.append(self.training)
        return torch.cat([torch.zeros_like(volumes), self.slope * (volumes - 0.5)], dim=1)


class LeftRight(VoxelWise):
    """Adds the position along i to the second class: an answer that depends on the side."""

    def forward(self, volumes: Tensor) -> Tensor:
        ramp = torch.linspace(-1.0, 1.0, volumes.shape[2]).view(1, 1, -1, 1, 1)
        return super().forward(volumes) + torch.cat([torch.zeros_like(ramp), ramp], dim=1)


def image(i: int = 16) -> Tensor:
    return torch.rand(1, i, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_volume_of_one_patch_takes_one_pass_with_its_mirror_image(study: StudyConfig) -> None:
    model = VoxelWise()
    probabilities = predict_probabilities(model, image(), study.grid, study.compute)
    assert model.sizes == [(2, 1, 16, 16, 16)]
    torch.testing.assert_close(probabilities[1], torch.sigmoid(4.0 * (image()[0] - 0.5)))
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(16, 16, 16))


def test_a_larger_volume_is_covered_by_windows_of_a_patch_with_the_same_answer(study: StudyConfig) -> None:
    model = VoxelWise()
    probabilities = predict_probabilities(model, image(21), study.grid, study.compute)
    assert probabilities.shape == (2, 21, 16, 16)
    assert len(model.sizes) > 1
    assert {size[2:] for size in model.sizes} == {(16, 16, 16)}
    torch.testing.assert_close(probabilities[1], torch.sigmoid(4.0 * (image(21)[0] - 0.5)), rtol=0, atol=1e-4)


def test_the_answer_does_not_depend_on_the_side(study: StudyConfig) -> None:
    straight = predict_probabilities(LeftRight(), image(), study.grid, study.compute)
    mirrored = predict_probabilities(LeftRight(), image().flip(1), study.grid, study.compute)
    torch.testing.assert_close(mirrored, straight.flip(1))
    one_pass = LeftRight()(image()[None])[0].softmax(dim=0)
    assert (one_pass - straight).abs().max() > 0.1


@pytest.mark.parametrize("was_training", [True, False])
def test_the_model_predicts_in_evaluation_mode_and_goes_back_to_its_own(
    study: StudyConfig, *, was_training: bool
) -> None:
    model = VoxelWise().train(was_training)
    probabilities = predict_probabilities(model, image(), study.grid, study.compute)
    assert model.modes == [False]
    assert model.training == was_training
    assert not probabilities.requires_grad
