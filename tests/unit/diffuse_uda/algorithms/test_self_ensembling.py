"""The two mean teachers: what their losses are, worked out by hand, and who gets a gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.self_ensembling import (
    LARGEST_NOISE,
    NOISE_STD,
    inter_domain_consistency,
    intra_domain_consistency,
    self_information,
    teacher_noise,
)


def volume_of(*probabilities: float) -> Tensor:
    """One voxel with these probabilities."""
    return torch.tensor(probabilities).view(1, -1, 1, 1, 1)


def test_a_certain_voxel_informs_of_nothing_and_one_in_e_of_the_most() -> None:
    found = self_information(volume_of(1.0, 0.0, 1 / math.e, 0.5)).flatten().tolist()
    assert found == pytest.approx([0.0, 0.0, 1 / math.e, 0.5 * math.log(2)], abs=1e-6)


def test_self_information_has_a_finite_slope_where_a_class_is_impossible() -> None:
    probabilities = volume_of(0.0, 1.0).requires_grad_()
    self_information(probabilities).sum().backward()  # type: ignore[no-untyped-call]
    assert probabilities.grad is not None
    assert torch.isfinite(probabilities.grad).all()


def test_intra_is_the_mean_square_over_classes_and_voxels() -> None:
    assert float(intra_domain_consistency(volume_of(0.5, 0.5), volume_of(0.9, 0.1))) == pytest.approx(0.16)
    assert float(intra_domain_consistency(volume_of(1.0, 0.0), volume_of(0.0, 1.0))) == pytest.approx(1.0)


def test_inter_asks_for_equal_doubt_not_for_equal_classes() -> None:
    assert float(inter_domain_consistency(volume_of(0.9, 0.1), volume_of(0.1, 0.9))) > 0.0
    assert float(inter_domain_consistency(volume_of(1.0, 0.0), volume_of(0.0, 1.0))) == pytest.approx(0.0, abs=1e-9)
    # (1/2 log 2)^2 in both classes
    doubt = float(inter_domain_consistency(volume_of(0.5, 0.5), volume_of(1.0, 0.0)))
    assert doubt == pytest.approx((0.5 * math.log(2)) ** 2, rel=1e-5)


@pytest.mark.parametrize("loss", [intra_domain_consistency, inter_domain_consistency])
def test_the_teacher_gets_no_gradient_and_shapes_must_agree(loss: object) -> None:
    assert callable(loss)
    student, teacher = volume_of(0.7, 0.3).requires_grad_(), volume_of(0.4, 0.6).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    with pytest.raises(ValueError, match="one shape"):
        loss(volume_of(0.7, 0.3), volume_of(0.7, 0.2, 0.1))


def test_the_teachers_noise_is_clipped_stays_in_the_body_and_is_drawn() -> None:
    volumes = torch.full((1, 1, 20, 20, 20), 0.5)
    volumes[:, :, :5] = 0.0
    noisy = teacher_noise(volumes, torch.Generator().manual_seed(0))
    change = (noisy - volumes)[volumes > 0]
    assert noisy[volumes == 0].abs().max() == 0.0
    assert float(change.abs().max()) == pytest.approx(LARGEST_NOISE, abs=1e-6)
    # clipping at two deviations leaves 95 % of the deviation
    assert float(change.std()) == pytest.approx(0.95 * NOISE_STD, rel=0.05)
    assert torch.equal(noisy, teacher_noise(volumes, torch.Generator().manual_seed(0)))
    assert not torch.equal(noisy, teacher_noise(volumes, torch.Generator().manual_seed(1)))
