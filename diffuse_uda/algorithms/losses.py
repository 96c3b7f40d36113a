"""Voxel losses: soft Dice, Dice with cross-entropy, and the regression loss of the denoiser."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax

Probabilities = Float[Tensor, "batch klass i j k"]
LabelMap = Int[Tensor, "batch 1 i j k"]
VoxelWeight = Float[Tensor, "batch 1 i j k"]

ALL_BUT_CLASS = (0, 2, 3, 4)
"""Axes over which a class is summed: cases and voxels."""


def soft_dice_loss(
    probabilities: Probabilities,
    label_map: LabelMap,
    *,
    voxel_weight: VoxelWeight | None = None,
    smooth: float = 1e-5,
) -> Float[Tensor, ""]:
    """One minus the soft Dice overlap with squared denominators (Milletari et al. 2016, arXiv:1606.04797, eq. 3).

    The overlap of a class is taken over all the voxels of the batch, and the loss is the mean over the classes,
    background included. Summing over the batch first keeps a class that one crop happens to miss from
    being scored as a total failure there.

    Args:
        probabilities: Softmax output; sums to 1 over `klass`.
        label_map: Class of every voxel, in [0, klass).
        voxel_weight: How much each voxel counts, in [0, 1]; all ones when absent. A voxel of weight 0 does not matter,
            whatever its label: that is how unlabelled voxels are left out.
        smooth: Added above and below, so that a class that is neither there nor predicted has loss 0.

    Returns:
        The loss, in [0, 1]; 0 when every weight is 0.

    Raises:
        ValueError: If the label map or the weights are on another grid than the probabilities.
    """
    _require_same_grid(probabilities, label_map, "label_map")
    # Sums over a million voxels overflow or stall in half precision.
    probabilities = probabilities.float()
    one_hot = torch.zeros_like(probabilities).scatter_(1, label_map.long(), 1.0)
    weighted = probabilities
    if voxel_weight is not None:
        _require_same_grid(probabilities, voxel_weight, "voxel_weight")
        weighted, one_hot = probabilities * voxel_weight, one_hot * voxel_weight
    overlap = (probabilities * one_hot).sum(dim=ALL_BUT_CLASS)
    squares = (probabilities * weighted).sum(dim=ALL_BUT_CLASS)
    # A one-hot target is its own square.
    volume = one_hot.sum(dim=ALL_BUT_CLASS)
    return 1.0 - ((2.0 * overlap + smooth) / (squares + volume + smooth)).mean()


def dice_ce_loss(
    logits: Float[Tensor, "batch klass i j k"],
    label_map: LabelMap,
    *,
    voxel_weight: VoxelWeight | None = None,
) -> Float[Tensor, ""]:
    """Soft Dice plus cross-entropy, both weighted voxel by voxel.

    The cross-entropy is the weighted mean sum(w * ce) / sum(w): a volume of which little is trusted teaches
    as strongly as any other, from the little that is trusted.

    Args:
        logits: Network output before softmax.
        label_map: Class of every voxel, in [0, klass).
        voxel_weight: How much each voxel counts, in [0, 1], such as `confidence_weight` of a pseudo-label; all ones
            when absent.

    Returns:
        The loss; 0 when every weight is 0.

    Raises:
        ValueError: If the label map or the weights are on another grid than the logits.
    """
    _require_same_grid(logits, label_map, "label_map")
    log_probabilities = log_softmax(logits.float(), dim=1)
    cross_entropy = -log_probabilities.gather(1, label_map.long())
    dice = soft_dice_loss(log_probabilities.exp(), label_map, voxel_weight=voxel_weight)
    return dice + _weighted_mean(cross_entropy, voxel_weight)


def weighted_flow_loss(
    prediction: Float[Tensor, "batch channel i j k"],
    target: Float[Tensor, "batch channel i j k"],
    voxel_weight: VoxelWeight | None = None,
    *,
    norm: Literal["l1", "l2"],
) -> Float[Tensor, ""]:
    """Mean distance of what the denoiser predicts to what it should predict (velocity or noise).

    Args:
        prediction: Output of the denoiser.
        target: `flow_target(...)` of rectified flow, or the noise of DDPM.
        voxel_weight: How much each voxel counts, in [0, 1]; low where the conditioning label map is uncertain.
        norm: `l1`, the mean absolute error, or `l2`, the mean squared error.

    Returns:
        The weighted mean over voxels and channels; 0 when every weight is 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if prediction.shape != target.shape:
        msg = f"prediction is {tuple(prediction.shape)}, target is {tuple(target.shape)}: they must not be broadcast"
        raise ValueError(msg)
    error = prediction.float() - target.float()
    return _weighted_mean(error.abs() if norm == "l1" else error.square(), voxel_weight)


def _weighted_mean(values: Float[Tensor, "batch channel i j k"], voxel_weight: VoxelWeight | None) -> Float[Tensor, ""]:
    """Average over all voxels and channels, sum(w * v) / sum(w); 0 instead of 0 / 0."""
    if voxel_weight is None:
        return values.mean()
    _require_same_grid(values, voxel_weight, "voxel_weight")
    total = voxel_weight.float().sum() * values.shape[1]
    return (values * voxel_weight).sum() / total.clamp_min(torch.finfo(torch.float32).tiny)


def _require_same_grid(volumes: Tensor, companion: Tensor, name: str) -> None:
    """Refuse a companion that torch would broadcast, or scatter into a corner, without a word."""
    wanted = (volumes.shape[0], 1, *volumes.shape[2:])
    if tuple(companion.shape) != wanted:
        msg = f"{name} is {tuple(companion.shape)}, wanted {wanted}: one value a voxel of {tuple(volumes.shape)}"
        raise ValueError(msg)
