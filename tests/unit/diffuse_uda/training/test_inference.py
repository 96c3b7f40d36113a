"""Probabilities of a whole volume: one window or many, both sides alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.config import PredictionConfig, StudyConfig
from diffuse_uda.training import inference
from diffuse_uda.training.inference import label_probabilities, predict_probabilities, second_by_intensities


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


def two_tissues() -> tuple[Tensor, Tensor]:
    """A bright cube in a dark box, and an answer that knows where the cube is but blurs its border."""
    inside = torch.zeros(16, 16, 16, dtype=torch.bool)
    inside[5:11, 5:11, 5:11] = True
    noise = 0.05 * torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(1))
    scan = (torch.where(inside, 0.8, 0.3) + noise).clamp(0.01, 1.0)
    vague = nn.functional.avg_pool3d(inside.float()[None], 5, stride=1, padding=2)[0].clamp(0.02, 0.98)
    return scan[None], torch.stack([1.0 - vague, vague])


def test_the_intensities_of_a_scan_tell_where_a_structure_ends(study: StudyConfig) -> None:
    scan, vague = two_tissues()
    config = study.model_copy(update={"prediction": PredictionConfig(mixture_share=0.5)})
    wrong = [
        int(((answer[1] > 0.5) != (scan[0] > 0.55)).sum())
        for answer in (vague, second_by_intensities(vague, scan, config))
    ]
    assert wrong[0] > 50
    assert wrong[1] < 5


def test_the_network_alone_has_the_word_without_a_share(study: StudyConfig) -> None:
    scan, vague = two_tissues()
    config = study.model_copy(update={"prediction": PredictionConfig(mixture_share=0.0)})
    assert second_by_intensities(vague, scan, config) is vague
    model = VoxelWise()
    expected = predict_probabilities(model, scan, study.grid, study.compute)
    torch.testing.assert_close(label_probabilities(model, scan, config), expected)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_share_is_the_weight_of_the_mixture(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """The network says class 0 everywhere, the mixture class 1, and it is asked about this scan alone."""
    scan, _ = two_tissues()
    answer = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).repeat(1, 16, 16, 16)

    def reversed_answers(images: list[Tensor], answers: list[Tensor], **_: object) -> list[Tensor]:
        assert len(images) == 1
        return [part.flip(0) for part in answers]

    monkeypatch.setattr(inference, "sharpen_probabilities", reversed_answers)
    config = study.model_copy(update={"prediction": PredictionConfig(mixture_share=share)})
    seconded = second_by_intensities(answer, scan, config)
    torch.testing.assert_close(seconded[1], torch.full((16, 16, 16), share))
    torch.testing.assert_close(seconded.sum(dim=0), torch.ones(16, 16, 16))
