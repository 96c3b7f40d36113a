"""What a segmentation says about itself where nobody has drawn a reference: numbers to sort by, none of them a Dice.

Four signs, each from the literature and each with its limit:

- Doubt inside the structures, as the entropy of the network's softmax (structure-wise uncertainty, Roy et al. 2019,
  Bayesian QuickNAT, arXiv:1811.09800). A network can be sure and wrong, above all on scans unlike any it has seen.
- Disagreement of answers to the same scan seen in other ways (test-time augmentation, Wang et al. 2019,
  arXiv:1807.07356). An error that every view makes is not seen.
- Volumes beside those of the site's other cases, as a modified z-score (Iglewicz and Hoaglin 1993). A patient who is
  different for real is odd as well; where most cases are wrong in the same way, none is.
- Islands: parts of a structure far smaller than its largest one. A wrong outline in one piece has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from scipy import ndimage, stats
from torch import Tensor

from diffuse_uda.algorithms.metrics import dice

LabelMap = npt.NDArray[Any]

ISLAND_FRACTION = 0.2
"""A part with a smaller share of the largest part's voxels is an island: the rule that pseudo-labels are cleaned by."""
ODD = 3.5
"""Modified z-score from which a value is called an outlier (Iglewicz and Hoaglin 1993)."""
MOST_ODD = 10.0
"""Where oddness ends; also that of a structure that is missing here and present elsewhere."""
LEAST_OTHERS = 4
"""Other cases below which nothing is said about a volume: a median of three is anybody's."""
LEAST_SPREAD = 0.05
"""Least median deviation of log volumes, about 5 %: people differ at least that much."""

_MAD_TO_DEVIATION = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """How sure a network is inside what it calls one structure; None where it calls nothing so."""

    confidence: float | None
    """Mean probability of the structure, in [0, 1]."""
    entropy: float | None
    """Mean entropy over its largest possible value, in [0, 1]."""


def doubt_inside(probabilities: Float[Tensor, "klass i j k"]) -> dict[int, Doubt]:
    """Measure the doubt inside every structure that the probabilities find.

    Args:
        probabilities: Softmax; sums to 1 over `klass`; class 0 is background and is not measured: most of it is sure.

    Returns:
        By label, from 1.
    """
    found = probabilities.detach().float().cpu().clamp(0.0, 1.0)
    num_classes = found.shape[0]
    label_map = found.argmax(dim=0)
    entropy = -(found * found.clamp_min(1e-12).log()).sum(dim=0) / math.log(num_classes)
    doubts = {}
    for label in range(1, num_classes):
        inside = label_map == label
        if not inside.any():
            doubts[label] = Doubt(confidence=None, entropy=None)
            continue
        doubts[label] = Doubt(
            confidence=float(found[label][inside].mean()), entropy=float(entropy[inside].mean().clamp(0.0, 1.0))
        )
    return doubts


def agreement(label_maps: Sequence[LabelMap], label: int) -> float | None:
    """Mean overlap of the first answer with each of the others, for one structure.

    Args:
        label_maps: Classes on one grid, the answer that counts first.
        label: The structure.

    Returns:
        In [0, 1], 1 where all views agree; None with a single answer, or where no view finds the structure.
    """
    first, *others = label_maps
    overlaps = [dice(other, first, label) for other in others]
    known = [overlap for overlap in overlaps if overlap is not None]
    return math.fsum(known) / len(known) if known else None


def num_islands(label_map: LabelMap, label: int) -> int:
    """Count the parts of a structure that have less than `ISLAND_FRACTION` of the voxels of its largest part.

    Parts are 26-connected. Structures that come in two halves (hippocampi, ventricles) have no island for that.
    """
    components, count = ndimage.label(label_map == label, structure=np.ones((3, 3, 3)))
    if count == 0:
        return 0
    sizes = np.bincount(components.ravel())[1:]
    return int(np.count_nonzero(sizes < ISLAND_FRACTION * sizes.max()))


def volume_oddness(volume_ml: float, others_ml: Sequence[float]) -> float | None:
    """How far a volume lies from those of other cases, in robust standard deviations of its logarithm, with its sign.

    Args:
        volume_ml: Of this case, at least 0.
        others_ml: Of the other cases, without this one, so that it can't hide itself.

    Returns:
        In [-`MOST_ODD`, `MOST_ODD`], negative for smaller than usual; None with fewer than `LEAST_OTHERS` others that
        have the structure at all.
    """
    logs = [math.log(other) for other in others_ml if other > 0.0]
    if len(logs) < LEAST_OTHERS or len(logs) < len(others_ml) / 2:
        return None
    if volume_ml <= 0.0:
        return -MOST_ODD
    centre = float(np.median(logs))
    spread = max(float(np.median(np.abs(np.array(logs) - centre))), LEAST_SPREAD)
    oddness = _MAD_TO_DEVIATION * (math.log(volume_ml) - centre) / spread
    return min(max(oddness, -MOST_ODD), MOST_ODD)


def suspicion(cases: Sequence[Mapping[str, float | None]]) -> list[float]:
    """Put cases in one order: the mean of their ranks over all signs.

    Ranks need no weights between units that have nothing in common, and no reference. They compare the cases of one
    list with each other and say nothing about how good the best of them is.

    Args:
        cases: Signs by name, each the larger the worse; None where a sign says nothing about a case.

    Returns:
        In [0, 1], 1 for a case that is worst by every sign. A case that no sign says anything about gets 1: somebody
        has to look at it. A sign that all cases share alike gives 0.5 to all.
    """
    ranks: list[list[float]] = [[] for _ in cases]
    for name in {name: None for case in cases for name in case}:
        known = {index: value for index, case in enumerate(cases) if (value := case.get(name)) is not None}
        if len(known) == 1:
            ranks[next(iter(known))].append(0.5)
            continue
        for index, rank in zip(known, stats.rankdata(list(known.values())), strict=True):
            ranks[index].append(float((rank - 1.0) / (len(known) - 1)))
    return [math.fsum(of_case) / len(of_case) if of_case else 1.0 for of_case in ranks]


def rank_correlation(suspicions: Sequence[float], scores: Sequence[float]) -> float | None:
    """Spearman's correlation of suspicion with what references say, where some exist: is the order worth anything?

    Args:
        suspicions: Of the cases with a reference.
        scores: Their Dice, in the same order.

    Returns:
        In [-1, 1], -1 where suspicion finds the worst cases exactly; None below five cases, or where all are alike.
    """
    if len(suspicions) < 5 or len(set(suspicions)) == 1 or len(set(scores)) == 1:
        return None
    return float(stats.spearmanr(suspicions, scores).statistic)
