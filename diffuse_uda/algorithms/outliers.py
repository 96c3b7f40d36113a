"""Whether an update is out of line with what came before and beside it: robust z-scores and directions.

A site is compared with itself (its earlier rounds of the phase) and, if it is a target, with the others (the source and
the other targets, each by its own median, so that nobody counts more for having been there longer). The larger of both
levels is the reference, and of the others' levels the upper middle one: a single site that sends next to nothing cannot
make the rest look large. All amounts are norms of changes divided by the round's sum of learning rates, because that is
what honest changes follow from round to round; on honest runs the largest ratio to the reference was 1.6 for a whole
update and 2.5 for one tensor (see `GateLimits`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Amounts = npt.NDArray[np.float64]

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation of a normal distribution with standard deviation 1 is 1 / 1.4826."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateLimits:
    """When a population says that an update does not belong to it."""

    z: float = 6.0
    """Robust standard deviations of the logarithm, above the reference."""
    update_spread: float = 0.3
    """Smallest standard deviation of the logarithm that is believed, for whole updates: 6 of them are a factor of 6."""
    tensor_spread: float = 0.4
    """The same for one tensor: 6 of them are a factor of 11. Tensors of one or few values vary more."""
    largest_spread: float = 0.6
    """Largest standard deviation that is believed: 6 of them are a factor of 37. Few wild values must not allow all."""
    min_values: int = 64
    """Trained values below which a model's norms are no statistics, and nothing is compared."""
    cosine: float = -0.2
    """Lowest cosine between a target's change and the sum of the other targets', where enough of them agree."""
    min_voices: int = 4
    """Other targets without which directions say nothing."""
    agreement: float = 0.2
    """Median cosine of the others among themselves below which they have no common direction to deviate from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviations:
    """How far some amounts lie above their references; minus infinity where there is nothing to compare with."""

    ratios: Amounts
    z: Amounts


def deviations(
    amounts: Amounts, own: Amounts, others: Amounts, *, spreads: Amounts, largest_spread: float
) -> Deviations:
    """Robust z-scores of amounts on the logarithmic scale, each column by itself.

    Args:
        amounts: What is judged, at least 0: one column for each.
        own: The same site's amounts of earlier rounds: one row a round, none in the first one.
        others: One row for every other site: the median of its amounts of earlier rounds and of this one (`level`).
        spreads: For every column the smallest standard deviation of the logarithm that is believed.
        largest_spread: The largest one.
    """
    mine = level(own)
    company = _middle(np.sort(_logs(others), axis=0), upper=True)
    reference = np.fmax(_logs(mine), company)
    known = np.sort(np.concatenate([_logs(own), _logs(others)]), axis=0)
    center = _median(known)
    spread = MAD_TO_SIGMA * _median(np.sort(np.abs(known - center), axis=0))
    believed = np.clip(np.nan_to_num(spread), spreads, np.maximum(spreads, largest_spread))
    above = np.nan_to_num(_logs(amounts) - reference, nan=-np.inf)
    return Deviations(ratios=np.exp(above), z=above / believed)


def level(amounts: Amounts) -> Amounts:
    """Median of every column over the rows in which anything moved; 0 where nothing ever has."""
    return np.nan_to_num(np.exp(_median(np.sort(_logs(amounts), axis=0))))


def against_the_others(along: Mapping[str, float], length: float, limits: GateLimits) -> dict[str, float]:
    """Sites that move against what the others agree on.

    Directions count, not lengths: all changes are scaled to norm 1 before they are added up.

    Args:
        along: Inner product of every site's direction with the sum of all directions.
        length: Squared norm of that sum.
        limits: When a site is against the others.

    Returns:
        Cosine between the site's direction and the sum of the others', for the sites to refuse; empty with fewer than
        `min_voices` others, or where half of these do not agree with the rest.
    """
    if len(along) <= limits.min_voices:
        return {}
    cosines = {site: _cosine_without(own, length) for site, own in along.items()}
    return {
        site: cosine
        for site, cosine in cosines.items()
        if cosine < limits.cosine
        and statistics.median_low(cosines[other] for other in cosines if other != site) >= limits.agreement
    }


def _cosine_without(along: float, length: float) -> float:
    """Cosine between a direction u and s - u, from u s and s s; 0 if nothing is left of s."""
    rest = length - 2.0 * along + 1.0
    return (along - 1.0) / math.sqrt(rest) if rest > 1e-12 else 0.0


def _logs(amounts: Amounts) -> Amounts:
    """Logarithms; nothing moved is no number."""
    return np.log(np.where(amounts > 0.0, amounts, np.nan))


def _median(ordered: Amounts) -> Amounts:
    return 0.5 * (_middle(ordered, upper=False) + _middle(ordered, upper=True))


def _middle(ordered: Amounts, *, upper: bool) -> Amounts:
    """Lower or upper middle one of every sorted column's numbers; what is no number stands at the end."""
    if not ordered.shape[0]:
        return np.full(ordered.shape[1], np.nan)
    counts = np.count_nonzero(~np.isnan(ordered), axis=0)
    places = np.maximum((counts - (not upper)) // 2, 0)
    return np.asarray(np.take_along_axis(ordered, places[np.newaxis], axis=0)[0], dtype=np.float64)
