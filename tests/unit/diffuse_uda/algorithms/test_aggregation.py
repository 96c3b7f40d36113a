"""Averaging: the arithmetic of FedAvg, and every input that stock aggregators swallow."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.aggregation import (
    RunningAverage,
    Update,
    add_update_,
    federated_average,
    finish_average,
    site_weights,
)
from diffuse_uda.errors import AggregationError
from diffuse_uda.types import SiteRole, StateDict, WeightUpdate

SOURCE, TARGET = SiteRole.SOURCE, SiteRole.TARGET


def update(site_id: str, *values: float, cases: Any = 1, dtype: torch.dtype = torch.float32) -> WeightUpdate:
    """An update of one tensor."""
    return WeightUpdate(site_id=site_id, weights={"w": torch.tensor(values, dtype=dtype)}, num_examples=cases)


def stream(*updates: Update) -> StateDict:
    """Average updates one after another."""
    average = RunningAverage()
    for one in updates:
        add_update_(average, one)
    return finish_average(average)


def at_once(*updates: Update) -> StateDict:
    """Average updates that are all there."""
    return federated_average(updates)


both_forms = pytest.mark.parametrize("average", [at_once, stream])
Average = Callable[..., StateDict]


@both_forms
def test_sites_count_by_their_cases(average: Average) -> None:
    # (3 * 1 + 1 * 5) / 4 = 2
    assert average(update("a", 1.0, cases=3), update("b", 5.0, cases=1))["w"].item() == 2.0


@both_forms
def test_one_site_alone_is_returned_bit_for_bit(average: Average) -> None:
    weights = torch.randn(100, generator=torch.Generator().manual_seed(0))
    only = WeightUpdate(site_id="a", weights={"w": weights}, num_examples=7)
    assert torch.equal(average(only)["w"], weights)


@both_forms
def test_sites_that_agree_keep_their_model(average: Average) -> None:
    weights = {"w": torch.randn(100, generator=torch.Generator().manual_seed(0))}
    sites = [
        WeightUpdate(site_id=name, weights=weights, num_examples=cases)
        for name, cases in zip("abc", (3, 7, 11), strict=True)
    ]
    assert torch.equal(average(*sites)["w"], weights["w"])


@both_forms
def test_updates_are_left_as_they_were(average: Average) -> None:
    weights = {"w": torch.tensor([1.0], requires_grad=True), "n": torch.tensor([3])}
    larger = {"w": torch.tensor([5.0]), "n": torch.tensor([4])}
    averaged = average(
        WeightUpdate(site_id="a", weights=weights, num_examples=1),
        WeightUpdate(site_id="b", weights=larger, num_examples=1),
    )
    assert not averaged["w"].requires_grad
    averaged["w"].add_(100.0)
    averaged["n"].add_(100)
    assert [(site["w"].item(), site["n"].item()) for site in (weights, larger)] == [(1.0, 3), (5.0, 4)]


@both_forms
def test_of_counters_and_switches_the_largest_is_kept(average: Average) -> None:
    # Stock aggregators turn 3 and 4 into the float 3.5.
    sites = [
        WeightUpdate(site_id=name, weights={"n": torch.tensor(count), "on": torch.tensor(on)}, num_examples=1)
        for name, count, on in (("a", 3, True), ("b", 4, False))
    ]
    averaged = average(*sites)
    assert averaged["n"].dtype == torch.int64
    assert (averaged["n"].item(), averaged["on"].item()) == (4, True)


@both_forms
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision_is_kept_and_lost_only_once(average: Average, dtype: torch.dtype) -> None:
    # 256 is where bfloat16 steps by 2: of 256 and three times 258 the mean is 257.5, stored as 258. Rounding after
    # each site would stay at 256.
    sites = [update("a", 256.0, dtype=dtype), *(update(name, 258.0, dtype=dtype) for name in "bcd")]
    averaged = average(*sites)["w"]
    assert averaged.dtype == dtype
    assert averaged.item() == (258.0 if dtype == torch.bfloat16 else 257.5)


def test_the_result_does_not_depend_on_who_answered_first() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = [
        WeightUpdate(site_id=name, weights={"w": torch.randn(1000, generator=generator)}, num_examples=cases)
        for name, cases in (("a", 3), ("b", 17), ("c", 5), ("d", 1))
    ]
    assert torch.equal(federated_average(sites)["w"], federated_average(sites[::-1])["w"])


@pytest.mark.parametrize("num_sites", [2, 10, 100])
def test_both_forms_stay_close_to_the_exact_average(num_sites: int) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(1000, generator=generator)
    sites = [
        WeightUpdate(
            site_id=f"site-{index:03}",
            weights={"w": base + 0.01 * torch.randn(1000, generator=generator)},
            num_examples=int(torch.randint(1, 500, (1,), generator=generator)),
        )
        for index in range(num_sites)
    ]
    cases = torch.tensor([site.num_examples for site in sites], dtype=torch.float64)
    exact = (torch.stack([site.weights["w"].double() for site in sites]) * cases[:, None]).sum(0) / cases.sum()
    # float64 sums leave the last rounding to float32 alone: half a unit of 2^-23, relative.
    torch.testing.assert_close(at_once(*sites)["w"].double(), exact, atol=1e-12, rtol=2.0**-24)
    torch.testing.assert_close(stream(*sites)["w"].double(), exact, atol=1e-8, rtol=1e-6)


def test_an_average_that_overflows_is_refused() -> None:
    # The shares may add up to a little more than 1, which lifts the largest float32 over the edge.
    largest = torch.finfo(torch.float32).max
    with pytest.raises(AggregationError, match=r"the average of tensor 'w' overflows torch.float32"):
        federated_average([update("a", largest), update("b", largest)], weights=[0.5, 0.5000009])


def test_given_shares_override_the_number_of_cases() -> None:
    averaged = federated_average([update("b", 1.0, cases=1), update("a", 5.0, cases=99)], weights=[0.75, 0.25])
    assert averaged["w"].item() == 2.0


def test_given_weights_override_the_number_of_cases_in_a_stream() -> None:
    average = RunningAverage()
    add_update_(average, update("a", 1.0, cases=99), weight=0.75)
    add_update_(average, update("b", 5.0, cases=1), weight=0.25)
    assert finish_average(average)["w"].item() == 2.0


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.4], [1.5, -0.5], [float("nan"), 1.0], [True, False], [0.0, 0.0]])
def test_shares_that_do_not_add_up_are_refused(weights: list[float]) -> None:
    with pytest.raises(AggregationError, match="for 2 updates: wanted one share in"):
        federated_average([update("a", 1.0), update("b", 5.0)], weights=weights)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), True])
def test_a_weight_in_a_stream_must_be_positive_and_finite(weight: float) -> None:
    with pytest.raises(AggregationError, match=r"site 'a': weight is .*, wanted a finite number above 0"):
        add_update_(RunningAverage(), update("a", 1.0), weight=weight)


# What stock aggregators do with each of these: spread it, divide by zero, let it take over, broadcast, or crash.
BAD_SECOND_SITES: dict[str, tuple[WeightUpdate, str]] = {
    "NaN": (update("b", float("nan"), 1.0, 2.0), "tensor 'w' holds 1 NaN or infinite values of 3"),
    "infinity": (update("b", float("inf"), -float("inf"), 2.0), "tensor 'w' holds 2 NaN or infinite values of 3"),
    "negative cases": (update("b", 1.0, 2.0, 3.0, cases=-9), "num_examples is -9"),
    "no cases": (update("b", 1.0, 2.0, 3.0, cases=0), "num_examples is 0"),
    "NaN cases": (update("b", 1.0, 2.0, 3.0, cases=float("nan")), "num_examples is nan"),
    "infinite cases": (update("b", 1.0, 2.0, 3.0, cases=float("inf")), "num_examples is inf"),
    "too many cases": (update("b", 1.0, 2.0, 3.0, cases=10**18), "num_examples is 1000000000000000000"),
    "cases as text": (update("b", 1.0, 2.0, 3.0, cases="3"), "num_examples is '3'"),
    "a boolean number of cases": (update("b", 1.0, 2.0, 3.0, cases=True), "num_examples is True"),
    "a shape to broadcast": (update("b", 1.0), r"is torch.float32 of shape \(1,\), wanted .* \(3,\)"),
    "a larger shape": (
        WeightUpdate(site_id="b", weights={"w": torch.ones(3, 3)}, num_examples=1),
        r"of shape \(3, 3\), wanted .* \(3,\)",
    ),
    "another precision": (update("b", 1.0, 2.0, 3.0, dtype=torch.float64), "is torch.float64 .*, wanted torch.float32"),
    "a missing tensor": (WeightUpdate(site_id="b", weights={}, num_examples=1), "holds no tensors"),
    "a foreign tensor": (
        WeightUpdate(site_id="b", weights={"w": torch.ones(3), "v": torch.ones(3)}, num_examples=1),
        r"unknown tensors \['v'\]",
    ),
    "a renamed tensor": (
        WeightUpdate(site_id="b", weights={"module.w": torch.ones(3)}, num_examples=1),
        r"missing tensors \['w'\], unknown tensors \['module.w'\]",
    ),
}


@both_forms
@pytest.mark.parametrize("fault", BAD_SECOND_SITES)
def test_a_site_that_would_spoil_the_model_is_named(average: Average, fault: str) -> None:
    bad, message = BAD_SECOND_SITES[fault]
    with pytest.raises(AggregationError, match=f"site 'b': .*{message}"):
        average(update("a", 1.0, 2.0, 3.0, cases=10), bad)


def test_a_broadcastable_shape_is_refused_in_either_order() -> None:
    with pytest.raises(AggregationError, match=r"site 'b': .* shape \(3,\), wanted .* shape \(1,\)"):
        federated_average([update("a", 1.0), update("b", 1.0, 2.0, 3.0)])


def test_a_refused_update_leaves_the_running_average_as_it_was() -> None:
    average = RunningAverage()
    add_update_(average, update("a", 1.0, 2.0, 3.0))
    for bad, _ in BAD_SECOND_SITES.values():
        with pytest.raises(AggregationError):
            add_update_(average, bad)
    add_update_(average, update("b", 3.0, 4.0, 5.0))
    assert finish_average(average)["w"].tolist() == [2.0, 3.0, 4.0]


def test_nothing_to_average_is_refused() -> None:
    with pytest.raises(AggregationError, match="there are no updates"):
        federated_average([])
    with pytest.raises(AggregationError, match="no update was added"):
        finish_average(RunningAverage())
    with pytest.raises(AggregationError, match="site 'a': the update holds no tensors"):
        federated_average([WeightUpdate(site_id="a", weights={}, num_examples=1)])


@both_forms
def test_a_site_counts_once(average: Average) -> None:
    with pytest.raises(AggregationError, match="site 'a' is there twice"):
        average(update("a", 1.0), update("b", 2.0), update("a", 1.0))


class TensorByTensor(Mapping[str, Tensor]):
    """Weights that are made when they are asked for, as from a file, with a count of those alive."""

    alive = 0
    most_alive = 0

    def __init__(self, names: list[str], value: float) -> None:
        self.names, self.value = names, value

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.full((5,), self.value)
        TensorByTensor.alive += 1
        TensorByTensor.most_alive = max(TensorByTensor.most_alive, TensorByTensor.alive)
        weakref.finalize(tensor, self.forget)
        return tensor

    @staticmethod
    def forget() -> None:
        TensorByTensor.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class FileUpdate:
    """An update that stays on the disk."""

    site_id: str
    weights: Mapping[str, Tensor]
    num_examples: int = 1


def test_updates_that_read_tensor_by_tensor_are_never_in_memory_as_a_whole() -> None:
    names = [f"layer{index}" for index in range(20)]
    sites = [FileUpdate(f"site-{value}", TensorByTensor(names, float(value))) for value in range(8)]
    averaged = federated_average(sites)
    assert all(tensor.tolist() == [3.5] * 5 for tensor in averaged.values())
    # Of 8 sites with 20 tensors each: the one that was just added, until the next one is read.
    assert TensorByTensor.most_alive <= 2


def test_a_running_average_needs_no_memory_for_the_second_site() -> None:
    average = RunningAverage()
    add_update_(average, update("a", 1.0))
    storage = average.weights["w"].data_ptr()
    add_update_(average, update("b", 5.0))
    assert average.weights["w"].data_ptr() == storage
    assert finish_average(average)["w"].data_ptr() == storage


def test_the_source_keeps_its_share_and_the_targets_divide_the_rest_by_cases() -> None:
    sites = [(TARGET, 10), (SOURCE, 40), (TARGET, 30)]
    assert site_weights(sites, 0.6) == pytest.approx([0.1, 0.6, 0.3])


def test_without_a_fixed_share_all_sites_count_by_cases() -> None:
    assert site_weights([(SOURCE, 40), (TARGET, 10)], None) == pytest.approx([0.8, 0.2])


def test_a_square_root_tames_a_large_site() -> None:
    assert site_weights([(TARGET, 1), (TARGET, 9)], None, case_exponent=0.5) == pytest.approx([0.25, 0.75])
    assert site_weights([(TARGET, 1), (TARGET, 9)], None, case_exponent=0.0) == pytest.approx([0.5, 0.5])


def test_sources_on_their_own_share_everything() -> None:
    assert site_weights([(SOURCE, 30), (SOURCE, 10)], 0.5) == pytest.approx([0.75, 0.25])


def test_shares_are_taken_by_the_average() -> None:
    sites = [update("a", 1.0, cases=16), update("b", 2.0, cases=7), update("c", 4.0, cases=9)]
    shares = site_weights([(SOURCE, 16), (TARGET, 7), (TARGET, 9)], 0.5)
    # The source brings 0.5 * 1, the targets the other half of (7 * 2 + 9 * 4) / 16 = 3.125.
    assert federated_average(sites, shares)["w"].item() == pytest.approx(2.0625)


def test_shares_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"source_weight must be in \[0.5, 1\] or None, got 0.3"):
        site_weights([(SOURCE, 1), (TARGET, 1)], 0.3)
    with pytest.raises(ValueError, match=r"case_exponent must be in \[0, 1\], got 2"):
        site_weights([(SOURCE, 1)], None, case_exponent=2.0)
    with pytest.raises(AggregationError, match=r"sites with at least 1 case each, found \[3, 0\]"):
        site_weights([(SOURCE, 3), (TARGET, 0)], None)
    with pytest.raises(AggregationError, match=r"found \[\]"):
        site_weights([], None)
    with pytest.raises(AggregationError, match=r"a source was to weigh 0.5 and none replied"):
        site_weights([(TARGET, 3)], 0.5)
