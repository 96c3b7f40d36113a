"""Losses of one ASC step: which terms they have, who learns from them, and what the mask does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.training.steps import source_loss, target_loss


def segmenter(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Conv3d(1, 3, 3, padding=1)


def volumes(seed: int) -> Tensor:
    return torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


def half_box() -> Tensor:
    mask = torch.zeros(1, 1, 8, 8, 8)
    mask[:, :, :4] = 1.0
    return mask


def test_the_source_learns_from_its_volumes_and_as_much_from_their_aligned_copies() -> None:
    student, label_map = segmenter(0), torch.randint(0, 3, (2, 1, 8, 8, 8))
    found = source_loss(student, volumes(1), volumes(2), label_map)
    wanted = dice_ce_loss(student(volumes(1)), label_map) + dice_ce_loss(student(volumes(2)), label_map)
    torch.testing.assert_close(found, wanted)


def test_a_perfect_student_has_no_source_loss() -> None:
    label_map = torch.randint(0, 3, (1, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))

    def student(both: Tensor) -> Tensor:
        return 50.0 * torch.nn.functional.one_hot(label_map[:, 0], 3).movedim(-1, 1).float().repeat(2, 1, 1, 1, 1)

    assert float(source_loss(student, volumes(1)[:1], volumes(2)[:1], label_map)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("mask", [half_box(), None], ids=["cut-mix", "whole"])
def test_the_teacher_gets_no_gradient_and_the_student_does(mask: Tensor | None) -> None:
    student, teacher = segmenter(0), segmenter(1)
    target_loss(student, teacher, volumes(1), volumes(2), mask).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in student.parameters())


def test_the_student_on_one_look_is_paired_with_the_teacher_on_the_other() -> None:
    # Logits that depend on the voxel alone: the student says class 0 on the swapped look only, the teacher class 0 on
    # the original only. Crossed, both pairs agree; uncrossed, both would be as far apart as can be.
    original, swapped = torch.zeros(2, 1, 4, 4, 4), torch.ones(2, 1, 4, 4, 4)

    def says_zero_on(value: float) -> nn.Module:
        class _Says(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                is_zero = (images == value).float()
                return 50.0 * torch.cat([is_zero, 1.0 - is_zero], dim=1)

        return _Says()

    def loss(student: nn.Module, teacher: nn.Module) -> float:
        return float(target_loss(student, teacher, original, swapped, None))

    assert loss(says_zero_on(1.0), says_zero_on(0.0)) == pytest.approx(0.0)
    assert loss(says_zero_on(0.0), says_zero_on(0.0)) == pytest.approx(2.0)


def test_without_a_mask_both_volumes_are_used_whole() -> None:
    student, teacher = segmenter(0), segmenter(1)
    found = target_loss(student, teacher, volumes(1), volumes(2), None)
    with torch.no_grad():
        answers = [net(images).softmax(1) for net, images in _crossed(student, teacher)]
    wanted = (answers[0] - answers[1]).square().mean() + (answers[2] - answers[3]).square().mean()
    torch.testing.assert_close(found.detach(), wanted)


def _crossed(student: nn.Module, teacher: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    return [(student, volumes(2)), (teacher, volumes(1)), (student, volumes(1)), (teacher, volumes(2))]


def test_the_mask_takes_its_box_from_the_second_volume_and_the_rest_from_the_first() -> None:
    # A network that looks at single voxels: mixing before or after it is the same, so only the voxels that the mask
    # leaves over can matter. In the box that is the second volume, outside the first.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student, teacher = nn.Conv3d(1, 3, 1), nn.Conv3d(1, 3, 1)
    images, swapped, mask = volumes(1), volumes(2), half_box()
    unseen_changed = images.clone()
    unseen_changed[0, :, :4] = 0.5
    unseen_changed[1, :, 4:] = 0.5
    seen_changed = images.clone()
    seen_changed[1, :, :4] = 0.5
    found = target_loss(student, teacher, images, swapped, mask)
    assert torch.equal(found, target_loss(student, teacher, unseen_changed, swapped, mask))
    assert not torch.isclose(found, target_loss(student, teacher, seen_changed, swapped, mask))
