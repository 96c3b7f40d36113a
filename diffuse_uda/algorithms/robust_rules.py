"""Averages that one target cannot drag away: median and trimmed mean, value by value (Yin et al., arXiv:1803.01498).

What they do: of n targets, fewer than n/2 (median) or at most the trimmed number on each side (trimmed mean) can send
anything at all, and every value of the result still lies between values that honest targets sent.

What they do not do. With two targets there is no majority: median and mean are the same, so the configuration refuses
them below three. With three to five targets they tolerate one bad one, in the median two of five; and between honest
values there is room, the wider the more the honest sites differ, which in domain adaptation they do: a small, steady
push in every round passes. They take no notice of cases, so a hospital with 3 scans counts like one with 300, and the
median of sites that differ is noisier than their mean. They say nothing about the source, whose share is fixed and
large because only it has labels: it is trusted. In rounds for one target there is nobody to compare it with; what it
sends there ends in its own model. The checks on every single update come first and are the larger part of the defence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffuse_uda.errors import AggregationError
from diffuse_uda.types import AverageRule

TRIMMED_ONE_IN = 5
"""The trimmed mean leaves out one of so many targets on each side, rounded up: 1 of 3 to 5, 2 of 6 to 10."""

CHUNK = 2**20
"""Values that are combined at a time: memory is one chunk a site, never a model a site."""


class Readable(Protocol):
    """Weights that can be read in parts; a file of them is one."""

    def __getitem__(self, name: str, /) -> Tensor:
        """One tensor."""

    def part(self, name: str, start: int, stop: int) -> Tensor:
        """Values `start` to `stop` of one tensor, laid out in a row."""


def combine(values: Tensor, rule: AverageRule) -> Tensor:
    """Combine the values of several sites, coordinate by coordinate.

    Args:
        values: Floating tensor; the first axis is the site.
        rule: Trimmed mean or median.

    Returns:
        A tensor without the first axis, in float64.

    Raises:
        AggregationError: If the rule is another one, or there are no sites.
    """
    num_sites = values.shape[0]
    if num_sites == 0 or rule is AverageRule.MEAN:
        msg = f"nothing robust to combine: {num_sites} sites by the rule {rule.value!r}"
        raise AggregationError(msg)
    ordered = values.to(torch.float64).sort(dim=0).values
    # The mean of the middle ones: as many on each side are left out.
    num_trimmed = (num_sites - 1) // 2
    if rule is AverageRule.TRIMMED_MEAN:
        num_trimmed = min(num_trimmed, math.ceil(num_sites / TRIMMED_ONE_IN))
    return ordered[num_trimmed : num_sites - num_trimmed].mean(dim=0)


@torch.no_grad()
def robust_average(
    sources: Sequence[Readable],
    targets: Sequence[Readable],
    like: Mapping[str, Tensor],
    *,
    source_weight: float,
    rule: AverageRule,
) -> dict[str, Tensor]:
    """Average sources and targets: the source's fixed share of its own weights, the rest of the targets' combination.

    Args:
        sources: Weights of the sources (of the source: there is one); their mean counts.
        targets: Weights of the targets.
        like: Form of every tensor (names, shapes, dtypes).
        source_weight: Share of the sources, in [0, 1]; a side without anybody leaves everything to the other.
        rule: How the targets are combined.

    Returns:
        The model, every floating tensor in its own precision; of counters the largest value is kept.

    Raises:
        AggregationError: If nobody sent anything.
    """
    if not sources and not targets:
        msg = "nothing to average: there are no updates"
        raise AggregationError(msg)
    share = 1.0 if not targets else source_weight if sources else 0.0
    return {name: _averaged(name, form, sources, targets, share=share, rule=rule) for name, form in like.items()}


def _averaged(
    name: str,
    form: Tensor,
    sources: Sequence[Readable],
    targets: Sequence[Readable],
    *,
    share: float,
    rule: AverageRule,
) -> Tensor:
    if not form.is_floating_point():
        largest = (*sources, *targets)[0][name]
        for other in (*sources, *targets)[1:]:
            largest = torch.maximum(largest, other[name])
        return largest
    flat = torch.empty(form.numel(), dtype=form.dtype)
    for start, stop in _chunks(form.numel()):
        total = torch.zeros(stop - start, dtype=torch.float64)
        for source in sources:
            total.add_(source.part(name, start, stop), alpha=share / len(sources))
        if targets:
            total.add_(combine(torch.stack([site.part(name, start, stop) for site in targets]), rule), alpha=1 - share)
        flat[start:stop] = total.to(form.dtype)
    return flat.reshape(form.shape)


def _chunks(num_values: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num_values, CHUNK):
        yield start, min(start + CHUNK, num_values)
