"""Signs of a bad segmentation that need no reference."""

import math
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffuse_uda.algorithms.label_free_quality import (
    MOST_ODD,
    agreement,
    doubt_inside,
    num_islands,
    rank_correlation,
    suspicion,
    volume_oddness,
)


def test_a_sure_network_has_no_doubt_and_an_undecided_one_as_much_as_there_is() -> None:
    # Two voxels of class 1: one certain, one split evenly between all three (but for a hair).
    third = 1 / 3
    probabilities = torch.tensor([[0.0, third], [1.0, third + 1e-6], [0.0, third]]).reshape(3, 1, 1, 2)
    doubt = doubt_inside(probabilities)[1]
    assert doubt.confidence == pytest.approx((1.0 + third) / 2, abs=1e-5)
    assert doubt.entropy == pytest.approx(0.5, abs=1e-4)


def test_what_is_not_found_has_no_doubt_to_measure() -> None:
    probabilities = torch.tensor([0.9, 0.1]).reshape(2, 1, 1, 1)
    assert doubt_inside(probabilities)[1].confidence is None


def test_agreement_is_the_mean_overlap_with_the_first_answer() -> None:
    first = np.array([1, 1, 0, 0]).reshape(1, 1, 4)
    same, half = first, np.array([1, 0, 0, 0]).reshape(1, 1, 4)
    # Dice 1 with the same answer, 2*1/(2+1) = 2/3 with the half of it.
    assert agreement([first, same, half], 1) == pytest.approx((1 + 2 / 3) / 2)
    assert agreement([first], 1) is None
    assert agreement([first, same], 2) is None


def test_a_view_that_misses_a_structure_disagrees_wholly() -> None:
    first = np.array([1, 0]).reshape(1, 1, 2)
    assert agreement([first, np.zeros_like(first)], 1) == 0.0


def test_islands_are_parts_below_a_fifth_of_the_largest() -> None:
    label_map = np.zeros((3, 3, 30), np.uint8)
    label_map[0, 0, 0:10] = 1
    label_map[0, 0, 12:14] = 1  # two voxels of ten: exactly a fifth, no island
    label_map[0, 0, 20] = 1  # one of ten
    assert num_islands(label_map, 1) == 1
    assert num_islands(label_map, 2) == 0


def test_two_halves_are_no_islands() -> None:
    label_map = np.zeros((3, 3, 9), np.uint8)
    label_map[:, :, 0:3] = label_map[:, :, 6:9] = 4
    assert num_islands(label_map, 4) == 0


def test_a_volume_is_odd_by_its_distance_in_robust_deviations_of_the_logarithm() -> None:
    # Logs of the others: 0, 1, 2, 3, 4 -> median 2, median deviation 1.
    others = [math.exp(power) for power in range(5)]
    assert volume_oddness(math.exp(2), others) == pytest.approx(0.0, abs=1e-12)
    assert volume_oddness(math.exp(4), others) == pytest.approx(0.6745 * 2)
    assert volume_oddness(math.exp(0), others) == pytest.approx(-0.6745 * 2)


def test_units_do_not_matter_to_oddness() -> None:
    others = [10.0, 12.0, 9.0, 11.0, 14.0]
    in_litres = [other / 1000 for other in others]
    assert volume_oddness(20.0, others) == pytest.approx(volume_oddness(0.020, in_litres))


def test_a_missing_structure_is_as_odd_as_can_be_and_few_cases_say_nothing() -> None:
    assert volume_oddness(0.0, [10.0] * 4) == -MOST_ODD
    assert volume_oddness(1e9, [10.0] * 4) == MOST_ODD
    assert volume_oddness(0.0, [10.0] * 3) is None
    # Where most of the others lack it as well, nobody is the odd one.
    assert volume_oddness(0.0, [10.0] * 4 + [0.0] * 5) is None


def test_suspicion_is_the_mean_rank() -> None:
    cases = [{"entropy": 0.1, "islands": 3.0}, {"entropy": 0.2, "islands": 0.0}, {"entropy": 0.3, "islands": 5.0}]
    # Ranks by entropy 0, 1/2, 1; by islands 1/2, 0, 1.
    assert suspicion(cases) == pytest.approx([0.25, 0.25, 1.0])


def test_a_sign_that_is_silent_about_a_case_does_not_count_for_it() -> None:
    cases: list[dict[str, float | None]] = [{"a": 1.0, "b": None}, {"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 1.0}]
    assert suspicion(cases) == pytest.approx([1.0, 0.0, 0.75])
    assert suspicion([{"a": None}, {"a": 2.0}]) == [1.0, 0.5]
    assert suspicion([]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=16), st.floats(0, 1, width=16)), min_size=1, max_size=8), st.randoms())
def test_the_order_of_cases_and_the_scale_of_a_sign_change_nothing(
    values: list[tuple[float, float]], random: Random
) -> None:
    cases = [{"a": a, "b": b} for a, b in values]
    found = suspicion(cases)
    assert all(0.0 <= value <= 1.0 for value in found)
    places = list(range(len(cases)))
    random.shuffle(places)
    assert suspicion([cases[place] for place in places]) == pytest.approx([found[place] for place in places])
    assert suspicion([{"a": 7 * case["a"] + 3, "b": case["b"] * 2} for case in cases]) == pytest.approx(found)


def test_rank_correlation_is_minus_one_where_suspicion_finds_the_worst() -> None:
    assert rank_correlation([0.1, 0.2, 0.3, 0.4, 0.5], [0.9, 0.8, 0.5, 0.4, 0.1]) == pytest.approx(-1.0)
    assert rank_correlation([0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.5, 0.4]) is None
    assert rank_correlation([0.5] * 5, [0.9, 0.8, 0.5, 0.4, 0.1]) is None
