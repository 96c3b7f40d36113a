"""Labels from a teacher's probabilities, cleaned of islands, and how much each voxel of them is worth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from scipy import ndimage
from torch import Tensor

BACKGROUND = 0
"""Class of everything that is no structure; it is never cleaned, and what finds no other class ends in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabel:
    """A label map that no expert drew, with the teacher's word for every voxel."""

    label_map: Int[Tensor, "1 i j k"]
    confidence: Float[Tensor, "1 i j k"]
    """Probability of the winning class, in (0, 1]; 0 where the winner was taken away."""


def ensemble_probabilities(probabilities: Sequence[Float[Tensor, "klass i j k"]]) -> Float[Tensor, "klass i j k"]:
    """Average the softmax outputs of several models, such as the last rounds of one federation.

    Args:
        probabilities: One volume a model, all of one shape.

    Returns:
        Their mean; it sums to 1 over `klass` again.

    Raises:
        ValueError: If there is no volume, or if they differ in shape.
    """
    if len({tuple(volume.shape) for volume in probabilities}) != 1:
        msg = f"an ensemble needs volumes of one shape, found {[tuple(volume.shape) for volume in probabilities]}"
        raise ValueError(msg)
    total = torch.zeros_like(probabilities[0], dtype=torch.float32)
    for volume in probabilities:
        total += volume
    return total / len(probabilities)


def pseudo_label(
    probabilities: Float[Tensor, "klass i j k"],
    *,
    keep_largest_component: Collection[int] | bool,
    min_fraction: float = 0.2,
) -> PseudoLabel:
    """Take the winning class of every voxel, and drop the islands that a structure cannot have.

    An island loses its class and falls to its next best one: structures lie inside one another (a nucleus in
    white matter, a chamber in muscle), where background would leave a hole that no anatomy has. Outside of
    the body the next best class is background anyway. What then forms an island of that class falls on, at the
    latest to the background. All such voxels get confidence 0: the teacher's word was refuted, not replaced.

    Components are 26-connected, so that a thin sheet stays in one piece. A component is kept if it has at
    least `min_fraction` of the voxels of the largest one of its class, because some structures
    come in two halves that do not touch (hippocampi, lateral ventricles, deep grey matter).

    Args:
        probabilities: Softmax of the teacher or of an ensemble; sums to 1 over `klass`; class 0 is background.
        keep_largest_component: Classes to clean; True for all but the background, False for none.
        min_fraction: Smallest component that is kept, as a share of the largest one, in (0, 1]; 1 is the strict rule of
            ASC+ (arXiv:2408.05985), which keeps only the largest, and loses one half of every paired structure.

    Returns:
        Label map and confidence, on the CPU.

    Raises:
        ValueError: If the fraction is outside (0, 1], or a class to clean is background or does not exist.
    """
    if not 0.0 < min_fraction <= 1.0:
        msg = f"min_fraction must be in (0, 1], got {min_fraction}"
        raise ValueError(msg)
    classes = _classes_to_clean(keep_largest_component=keep_largest_component, num_classes=probabilities.shape[0])
    probabilities = probabilities.detach().float()
    winner_probability, winner = probabilities.max(dim=0)
    label_map, confidence = winner.cpu().numpy(), winner_probability.cpu().numpy()
    if classes:
        _drop_islands(label_map, confidence, probabilities.cpu().numpy(), classes, min_fraction)
    return PseudoLabel(label_map=torch.from_numpy(label_map)[None], confidence=torch.from_numpy(confidence)[None])


def confidence_weight(confidence: Float[Tensor, "*shape"], *, floor: float) -> Float[Tensor, "*shape"]:
    """Turn confidence into the weight of a voxel in a loss: 0 up to the floor, then linearly up to 1.

    Args:
        confidence: Probability of the winning class, in [0, 1]; 0 where a pseudo-label was refuted.
        floor: Highest confidence that is worth nothing, in [0, 1); 1 / klass is pure chance.

    Returns:
        Weights in [0, 1]: with a floor of 0.5, a confidence of 0.9 weighs 0.8.

    Raises:
        ValueError: If the floor is outside [0, 1).
    """
    if not 0.0 <= floor < 1.0:
        msg = f"floor must be in [0, 1), got {floor}"
        raise ValueError(msg)
    return ((confidence - floor) / (1.0 - floor)).clamp(0.0, 1.0)


def _classes_to_clean(*, keep_largest_component: Collection[int] | bool, num_classes: int) -> list[int]:
    """List the classes whose islands are dropped, or refuse one that cannot be cleaned."""
    if isinstance(keep_largest_component, bool):
        return list(range(1, num_classes)) if keep_largest_component else []
    classes = sorted(set(keep_largest_component))
    if unknown := [klass for klass in classes if not BACKGROUND < klass < num_classes]:
        msg = (
            f"cannot clean the classes {unknown}: the structures are 1 to {num_classes - 1}, {BACKGROUND} is background"
        )
        raise ValueError(msg)
    return classes


def _drop_islands(
    label_map: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float32],
    classes: list[int],
    min_fraction: float,
) -> None:
    """Let islands fall to their next best class, in place, until none is left."""
    lost = np.zeros(probabilities.shape, dtype=np.bool_)
    # An island that falls can dwarf a component that was large enough before, so look again until nothing falls.
    # It ends, because no voxel loses a class twice.
    while (islands := _islands(label_map, classes, min_fraction)).any():
        i, j, k = np.nonzero(islands)
        lost[label_map[i, j, k], i, j, k] = True
        label_map[i, j, k] = np.where(lost[:, i, j, k], -np.inf, probabilities[:, i, j, k]).argmax(axis=0)
        confidence[i, j, k] = 0.0


def _islands(label_map: npt.NDArray[np.int64], classes: list[int], min_fraction: float) -> npt.NDArray[np.bool_]:
    """Mark the components that are smaller than `min_fraction` of the largest one of their class."""
    islands = np.zeros(label_map.shape, dtype=np.bool_)
    for klass, box in enumerate(ndimage.find_objects(label_map), start=1):
        if box is None or klass not in classes:
            continue
        components, _ = ndimage.label(label_map[box] == klass, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(components.ravel())
        sizes[0] = sizes[1:].max()
        islands[box] |= (sizes < min_fraction * sizes[0])[components]
    return islands
