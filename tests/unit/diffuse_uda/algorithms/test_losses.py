"""Laws of the voxel losses."""

from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.losses import dice_ce_loss, soft_dice_loss, weighted_flow_loss


def volume_of(*rows: list[float]) -> Float[Tensor, "1 klass i 1 1"]:
    """One case; each row holds the values of one class or channel along i."""
    return torch.tensor(rows).view(1, len(rows), -1, 1, 1)


def labels_of(*labels: int) -> Int[Tensor, "1 1 i 1 1"]:
    return torch.tensor(labels).view(1, 1, -1, 1, 1)


def test_a_perfect_prediction_has_no_dice_loss() -> None:
    assert soft_dice_loss(volume_of([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]), labels_of(0, 0, 1)).item() == 0.0


def test_dice_loss_has_squared_denominators_and_counts_the_background() -> None:
    # Two voxels of class 0 and 1, both predicted half and half: a class overlaps by 0.5 and its squares add to
    # 0.25 + 0.25, so its Dice is 2 * 0.5 / (0.5 + 1) = 2/3, and so is the background's.
    loss = soft_dice_loss(volume_of([0.5, 0.5], [0.5, 0.5]), labels_of(0, 1))
    assert loss.item() == pytest.approx(1 / 3, abs=1e-5)


def test_a_class_that_is_neither_there_nor_predicted_counts_as_right() -> None:
    # Class 2 is nowhere: only the smoothing is left, 1e-5 / 1e-5 = 1.
    assert soft_dice_loss(volume_of([1.0], [0.0], [0.0]), labels_of(0)).item() == 0.0


def test_a_crop_without_a_class_does_not_fail_that_class() -> None:
    # Case 1 holds class 1 and predicts it; case 2 has none and predicts 0.1 of it. Summed over both cases, class 1 has
    # 2 * 1 / (1.01 + 1), the background 2 * 0.9 / (0.81 + 1).
    probabilities = torch.cat([volume_of([0.0], [1.0]), volume_of([0.9], [0.1])])
    loss = soft_dice_loss(probabilities, torch.cat([labels_of(1), labels_of(0)]))
    assert loss.item() == pytest.approx(1 - (2 / 2.01 + 1.8 / 1.81) / 2, abs=1e-5)


def test_dice_ce_of_a_coin_toss_is_a_third_plus_log_two() -> None:
    loss = dice_ce_loss(torch.zeros(1, 2, 2, 1, 1), labels_of(0, 1))
    assert loss.item() == pytest.approx(1 / 3 + math.log(2), abs=1e-5)


def test_half_precision_is_summed_in_single() -> None:
    # 80 000 voxels; float16 ends at 65 504.
    logits = torch.zeros(1, 2, 80_000, 1, 1, dtype=torch.float16)
    loss = dice_ce_loss(logits, torch.arange(80_000).view(1, 1, -1, 1, 1) % 2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1 / 3 + math.log(2), abs=1e-4)
    dice = soft_dice_loss(torch.full_like(logits, 0.5), torch.arange(80_000).view(1, 1, -1, 1, 1) % 2)
    assert dice.item() == pytest.approx(1 / 3, abs=1e-4)


def test_a_voxel_of_weight_zero_does_not_matter() -> None:
    logits = torch.randn(1, 3, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    weight = volume_of([1.0, 0.0, 0.5, 1.0])
    disturbed = logits + volume_of([0.0, 9.0, 0.0, 0.0])
    loss = dice_ce_loss(logits, labels_of(0, 1, 2, 0), voxel_weight=weight)
    assert loss == dice_ce_loss(disturbed, labels_of(0, 2, 2, 0), voxel_weight=weight)
    assert loss != dice_ce_loss(logits, labels_of(0, 1, 1, 0), voxel_weight=weight)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_equal_weights_are_no_weights(weight: float) -> None:
    logits = torch.randn(2, 3, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    label_map = torch.randint(0, 3, (2, 1, 4, 3, 2), generator=torch.Generator().manual_seed(1))
    weighted = dice_ce_loss(logits, label_map, voxel_weight=torch.full((2, 1, 4, 3, 2), weight))
    torch.testing.assert_close(weighted, dice_ce_loss(logits, label_map), atol=1e-4, rtol=0)


def test_without_any_trust_there_is_no_loss_and_no_gradient() -> None:
    logits = torch.randn(1, 2, 3, 1, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = dice_ce_loss(logits, labels_of(0, 1, 1), voxel_weight=torch.zeros(1, 1, 3, 1, 1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0.0


def test_training_on_dice_ce_finds_the_label_map() -> None:
    logits = torch.zeros(1, 3, 4, 1, 1, requires_grad=True)
    label_map = labels_of(0, 1, 2, 1)
    for _ in range(20):
        (gradient,) = torch.autograd.grad(dice_ce_loss(logits, label_map), logits)
        logits = (logits - 5.0 * gradient).detach().requires_grad_()
    assert torch.equal(logits.argmax(dim=1, keepdim=True), label_map)


@pytest.mark.parametrize(("norm", "expected"), [("l1", 2.0), ("l2", 5.0)])
def test_flow_loss_is_the_mean_error(norm: str, expected: float) -> None:
    # Errors 1 and 3: mean 2, mean square 5.
    prediction, target = volume_of([1.0, 3.0]), volume_of([0.0, 0.0])
    assert weighted_flow_loss(prediction, target, norm=norm).item() == expected  # type: ignore[arg-type]


def test_flow_loss_weighs_voxels_in_every_channel() -> None:
    # Errors 1, 3 in one channel and 5, 7 in the other; the second voxel weighs half: (1 + 1.5 + 5 + 3.5) / (2 * 1.5).
    prediction = volume_of([1.0, 3.0], [5.0, 7.0])
    loss = weighted_flow_loss(prediction, torch.zeros_like(prediction), volume_of([1.0, 0.5]), norm="l1")
    assert loss.item() == pytest.approx(11 / 3)


def test_flow_loss_without_any_trust_is_zero() -> None:
    ones = torch.ones(1, 1, 2, 1, 1)
    assert weighted_flow_loss(ones, 0 * ones, 0 * ones, norm="l2").item() == 0.0


def test_shapes_that_torch_would_broadcast_or_cut_are_refused() -> None:
    probabilities = torch.full((2, 2, 3, 1, 1), 0.5)
    with pytest.raises(ValueError, match=r"label_map is \(1, 1, 3, 1, 1\), wanted \(2, 1, 3, 1, 1\)"):
        soft_dice_loss(probabilities, labels_of(0, 1, 1))
    with pytest.raises(ValueError, match="label_map is"):
        dice_ce_loss(probabilities, labels_of(0, 1, 1))
    with pytest.raises(ValueError, match="voxel_weight is"):
        soft_dice_loss(probabilities, torch.zeros(2, 1, 3, 1, 1).long(), voxel_weight=torch.ones(2, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"prediction is \(2, 2, 3, 1, 1\), target is \(1, 2, 3, 1, 1\)"):
        weighted_flow_loss(probabilities, probabilities[:1], norm="l2")
