"""The median and the trimmed mean of the targets, beside a source whose share is fixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms import robust_rules
from diffuse_uda.algorithms.robust_rules import combine, robust_average
from diffuse_uda.errors import AggregationError
from diffuse_uda.types import AverageRule

MEDIAN, TRIMMED = AverageRule.MEDIAN, AverageRule.TRIMMED_MEAN


class Whole(dict[str, Tensor]):
    """Weights in memory, read in parts as a file would be."""

    def part(self, name: str, start: int, stop: int) -> Tensor:
        return self[name].flatten()[start:stop]


def site(value: float, count: int = 0) -> Whole:
    return Whole(w=torch.full((2, 3), value), count=torch.tensor(count))


FORMS = {"w": torch.empty((2, 3), device="meta"), "count": torch.empty((), dtype=torch.int64, device="meta")}


@pytest.mark.parametrize(
    ("values", "median", "trimmed"),
    [
        ([1.0, 2.0, 9.0], 2.0, 2.0),  # of three both leave the middle one
        ([1.0, 2.0, 4.0, 1e30], 3.0, 3.0),
        ([1.0, 2.0, 3.0, 7.0, 1e30], 3.0, 4.0),  # one of five on each side: (2 + 3 + 7) / 3
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1e30], 3.0, 3.0),  # two of seven on each side: (2 + 3 + 4) / 3
        ([1.0, 5.0], 3.0, 3.0),
        ([4.0], 4.0, 4.0),
    ],
)
def test_each_rule_leaves_out_the_extremes(values: list[float], median: float, trimmed: float) -> None:
    stacked = torch.tensor(values)[torch.randperm(len(values))].unsqueeze(1)
    assert combine(stacked, MEDIAN).tolist() == [median]
    assert combine(stacked, TRIMMED).tolist() == [trimmed]


def test_every_value_is_judged_by_itself() -> None:
    stacked = torch.tensor([[1.0, 1e30], [2.0, 5.0], [-1e30, 6.0]])
    assert combine(stacked, MEDIAN).tolist() == [1.0, 6.0]


@pytest.mark.parametrize("rule", [MEDIAN, TRIMMED])
def test_one_bad_target_of_three_to_five_cannot_leave_the_range_of_the_honest_ones(rule: AverageRule) -> None:
    generator = torch.Generator().manual_seed(0)
    for num_honest in (2, 3, 4):
        honest = torch.randn((num_honest, 50), generator=generator)
        for poison in (1e30, -1e30, 0.0):
            result = combine(torch.cat([honest, torch.full((1, 50), poison)]), rule)
            assert bool((result >= honest.min(dim=0).values - 1e-6).all())
            assert bool((result <= honest.max(dim=0).values + 1e-6).all())


def test_the_source_keeps_its_share_whatever_the_targets_send() -> None:
    average = robust_average([site(10.0)], [site(1.0), site(2.0), site(1e30)], FORMS, source_weight=0.5, rule=MEDIAN)
    assert average["w"].tolist() == [[6.0] * 3] * 2  # 10 / 2 + 2 / 2


def test_the_largest_counter_is_kept() -> None:
    average = robust_average([site(0.0, 3)], [site(0.0, 7), site(0.0, 5)], FORMS, source_weight=0.5, rule=MEDIAN)
    assert average["count"].item() == 7


@pytest.mark.parametrize(
    ("sources", "targets", "value"), [([site(3.0)], [], 3.0), ([], [site(1.0), site(2.0), site(9.0)], 2.0)]
)
def test_a_side_without_anybody_leaves_everything_to_the_other(
    sources: list[Whole], targets: list[Whole], value: float
) -> None:
    average = robust_average(sources, targets, FORMS, source_weight=0.5, rule=MEDIAN)
    assert average["w"].flatten().tolist() == [value] * 6


def test_parts_are_as_good_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    sites = [Whole(w=torch.randn((2, 3), generator=generator), count=torch.tensor(0)) for _ in range(4)]
    whole = robust_average(sites[:1], sites[1:], FORMS, source_weight=0.7, rule=TRIMMED)
    monkeypatch.setattr(robust_rules, "CHUNK", 4)
    parts = robust_average(sites[:1], sites[1:], FORMS, source_weight=0.7, rule=TRIMMED)
    assert torch.equal(whole["w"], parts["w"])


def test_nothing_to_combine_is_an_error() -> None:
    with pytest.raises(AggregationError, match="there are no updates"):
        robust_average([], [], FORMS, source_weight=0.5, rule=MEDIAN)
    with pytest.raises(AggregationError, match="0 sites"):
        combine(torch.empty(0, 3), MEDIAN)
    with pytest.raises(AggregationError, match="'mean'"):
        combine(torch.ones(2, 3), AverageRule.MEAN)
