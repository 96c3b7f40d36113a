"""Federated averaging that refuses what would spoil the model.

Two forms of one average:

- `federated_average` has all updates at hand and goes through them tensor by tensor: each tensor is summed in
  float64, in the order of the site ids, so that the result does not depend on who answered first. Of every update
  it holds one tensor at a time. Where `weights` is a mapping that reads from a file, no update is ever in memory as a
  whole, and the peak is the result and two tensors, whatever the number of sites: the form to prefer.
- `RunningAverage` takes updates as they arrive and keeps none: the peak is two models, the average and the
  update that is being added. A float64 or a compensated sum would be a third model, so it has to round to the model's
  own precision after each site. As a mean that moves, not a sum that grows, it stays within 1e-6 (relative) of the
  exact result for a hundred sites; the last digits depend on the order of arrival.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from diffuse_uda.algorithms.update_checks import (
    Update,
    check_update,
    require_finite,
    require_same_form,
    require_same_names,
    require_sane_count,
)
from diffuse_uda.errors import AggregationError
from diffuse_uda.types import SiteRole, StateDict

__all__ = [
    "RunningAverage",
    "Update",
    "add_update_",
    "check_update",
    "federated_average",
    "finish_average",
    "site_weights",
]

MIN_SOURCE_WEIGHT = 0.5
"""Below it, targets that learn from their own consistency could outvote the only labels there are, and collapse."""

SHARE_TOLERANCE = 1e-6
"""How far the shares of one average may be from adding up to 1."""


@dataclass(kw_only=True, slots=True)
class RunningAverage:
    """The average of the updates so far: `add_update_` to an empty one, then `finish_average`."""

    weights: StateDict = field(default_factory=dict)
    """Mean of what came; in float32 where the updates are in half precision."""
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    """Precision of the updates."""
    total_weight: float = 0.0
    site_ids: set[str] = field(default_factory=set)


@torch.no_grad()
def federated_average(updates: Sequence[Update], weights: Sequence[float] | None = None) -> StateDict:
    """Average by number of cases: FedAvg (McMahan et al. 2017, arXiv:1602.05629), algorithm 1.

    Floating tensors are summed in float64 and returned in their own precision. Integer and boolean ones are
    counters and switches, not weights: the largest value is kept.

    Args:
        updates: One update a site; they are read, never changed or copied.
        weights: Share of every update, adding up to 1, as `site_weights` gives them; by `num_examples` when absent.

    Returns:
        The averaged model.

    Raises:
        AggregationError: If there are no updates, a site appears twice, a count or a share is not sane, two sites
            differ in names, shapes or dtypes, or a value is not finite.
    """
    if not updates:
        msg = "nothing to average: there are no updates"
        raise AggregationError(msg)
    for update in updates:
        require_sane_count(update)
    shares = _shares_by_cases(updates) if weights is None else _require_shares(weights, len(updates))
    ordered = sorted(zip(updates, shares, strict=True), key=lambda pair: pair[0].site_id)
    for (update, _), (following, _) in pairwise(ordered):
        if update.site_id == following.site_id:
            raise AggregationError(_counted_twice(update.site_id))
        require_same_names(following, update.weights, f"site {update.site_id!r}")
    require_same_names(ordered[0][0], ordered[0][0].weights, "itself")
    return {name: _average_tensor(name, ordered) for name in ordered[0][0].weights}


@torch.no_grad()
def add_update_(average: RunningAverage, update: Update, *, weight: float | None = None) -> None:
    """Add one update to a running average in place; a refused update leaves the average as it was.

    Args:
        average: What came so far.
        update: The update of a site that was not added yet; it is read, not kept.
        weight: How much it counts, above 0, on one scale for all updates; `num_examples` when absent.

    Raises:
        AggregationError: As `federated_average`, about this one update.
    """
    require_sane_count(update)
    weight = float(update.num_examples) if weight is None else weight
    if isinstance(weight, bool) or not 0.0 < weight < math.inf:
        msg = f"site {update.site_id!r}: weight is {weight!r}, wanted a finite number above 0"
        raise AggregationError(msg)
    if update.site_id in average.site_ids:
        raise AggregationError(_counted_twice(update.site_id))
    require_same_names(update, average.weights or update.weights, "the sites before it")
    for name, tensor in update.weights.items():
        shape = average.weights[name].shape if average.weights else tensor.shape
        require_same_form(update.site_id, name, tensor, shape, average.dtypes.get(name, tensor.dtype))
        require_finite(update.site_id, name, tensor)
    average.site_ids.add(update.site_id)
    average.total_weight += weight
    for name, tensor in update.weights.items():
        if name not in average.weights:
            average.dtypes[name] = tensor.dtype
            average.weights[name] = tensor.to(_running_dtype(tensor.dtype), copy=True)
        elif tensor.is_floating_point():
            # mean + (tensor - mean) * share needs no memory of its own, and damps earlier rounding.
            mean = average.weights[name]
            mean.lerp_(tensor.to(mean.dtype), weight / average.total_weight)
        else:
            torch.maximum(average.weights[name], tensor, out=average.weights[name])


def finish_average(average: RunningAverage) -> StateDict:
    """Hand over the model of a running average, in the precision of the updates.

    Raises:
        AggregationError: If no update was added.
    """
    if not average.site_ids:
        msg = "nothing to average: no update was added"
        raise AggregationError(msg)
    return {name: tensor.to(average.dtypes[name]) for name, tensor in average.weights.items()}


def site_weights(
    sites: Sequence[tuple[SiteRole, int]], source_weight: float | None, *, case_exponent: float = 1.0
) -> list[float]:
    """Share out one average among the sites that replied.

    Args:
        sites: Role and number of cases of every site, as the server recorded them.
        source_weight: Share of the source (of all sources together), in [0.5, 1]; the targets divide the rest by
            their cases. None divides everything by cases. Sources on their own share everything.
        case_exponent: A site counts as cases ** case_exponent, in [0, 1]: 1 is FedAvg, 0.5 keeps one large site
            from owning the model, 0 makes all sites equal.

    Returns:
        One share a site, in the order given; they add up to 1.

    Raises:
        AggregationError: If there are no sites, a count is below 1, or a source was promised a share and none replied.
        ValueError: If `source_weight` or `case_exponent` is outside its range.
    """
    if source_weight is not None and not MIN_SOURCE_WEIGHT <= source_weight <= 1.0:
        msg = f"source_weight must be in [{MIN_SOURCE_WEIGHT}, 1] or None, got {source_weight}"
        raise ValueError(msg)
    if not 0.0 <= case_exponent <= 1.0:
        msg = f"case_exponent must be in [0, 1], got {case_exponent}"
        raise ValueError(msg)
    if not sites or min(num_cases for _, num_cases in sites) < 1:
        msg = f"sharing an average needs sites with at least 1 case each, found {[num_cases for _, num_cases in sites]}"
        raise AggregationError(msg)
    counts = [num_cases**case_exponent for _, num_cases in sites]
    num_sources = sum(role is SiteRole.SOURCE for role, _ in sites)
    if source_weight is None or num_sources == len(sites):
        return [count / math.fsum(counts) for count in counts]
    if num_sources == 0:
        msg = f"a source was to weigh {source_weight} and none replied: without labels the targets may collapse"
        raise AggregationError(msg)
    side_weight = {SiteRole.SOURCE: source_weight, SiteRole.TARGET: 1.0 - source_weight}
    side_count = {
        side: math.fsum(count for (role, _), count in zip(sites, counts, strict=True) if role is side)
        for side in SiteRole
    }
    return [side_weight[role] * count / side_count[role] for (role, _), count in zip(sites, counts, strict=True)]


def _average_tensor(name: str, ordered: Sequence[tuple[Update, float]]) -> Tensor:
    """Average one tensor over all sites, holding the tensor of one site at a time."""
    first = ordered[0][0].weights[name]
    require_same_form(ordered[0][0].site_id, name, first, first.shape, first.dtype)
    shape, dtype, is_weight = first.shape, first.dtype, first.is_floating_point()
    total = torch.zeros_like(first, dtype=torch.float64) if is_weight else first.clone()
    del first
    for update, share in ordered:
        tensor = update.weights[name]
        require_same_form(update.site_id, name, tensor, shape, dtype)
        if is_weight:
            total.add_(tensor, alpha=share)
        else:
            torch.maximum(total, tensor, out=total)
    average = total.to(dtype)
    # NaN and infinity survive every sum, so one look at the result clears all sites; only a bad one is traced back.
    if is_weight and not bool(torch.isfinite(average).all()):
        for update, _ in ordered:
            require_finite(update.site_id, name, update.weights[name])
        msg = f"the average of tensor {name!r} overflows {dtype}: the sites sent values at the end of its range"
        raise AggregationError(msg)
    return average


def _shares_by_cases(updates: Sequence[Update]) -> list[float]:
    """Share of every update in proportion to its cases."""
    total = sum(update.num_examples for update in updates)
    return [update.num_examples / total for update in updates]


def _require_shares(weights: Sequence[float], num_updates: int) -> Sequence[float]:
    """Refuse shares that are not one finite number from 0 to 1 for each update, adding up to 1."""
    is_sane = all(not isinstance(weight, bool) and 0.0 <= weight <= 1.0 for weight in weights)
    if len(weights) != num_updates or not is_sane or abs(math.fsum(weights) - 1.0) > SHARE_TOLERANCE:
        msg = (
            f"weights {list(weights)} for {num_updates} updates: wanted one share in [0, 1] for each, adding up to 1; "
            "use site_weights for the sites that are left"
        )
        raise AggregationError(msg)
    return weights


def _running_dtype(dtype: torch.dtype) -> torch.dtype:
    """Precision of a running mean: half precision would lose the small differences between sites."""
    return torch.float32 if dtype in {torch.float16, torch.bfloat16} else dtype


def _counted_twice(site_id: str) -> str:
    """Say that a site is there twice."""
    return f"site {site_id!r} is there twice: a replayed or duplicated update must count once"
