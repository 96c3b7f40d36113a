"""An update is out of line when it is far above its own past and above the others, and early rounds refuse nobody."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffuse_uda.algorithms.outliers import GateLimits, against_the_others, deviations, level

LIMITS = GateLimits()
NOTHING = (-math.inf, 0.0)


def judged(amount: float, own: list[float], others: list[list[float]]) -> tuple[float, float]:
    """z-score and ratio of one amount."""
    rows = [level(np.array(values).reshape(-1, 1)) for values in others]
    found = deviations(
        np.array([amount]),
        np.array(own).reshape(-1, 1),
        np.stack(rows) if rows else np.empty((0, 1)),
        spreads=np.array([0.3]),
        largest_spread=0.6,
    )
    return float(found.z[0]), float(found.ratios[0])


def test_the_first_update_of_all_has_nothing_to_be_compared_with() -> None:
    assert judged(1e9, [], []) == NOTHING
    assert judged(1e9, [0.0], [[0.0, 0.0]]) == NOTHING  # nobody has moved yet
    assert judged(0.0, [1.0], []) == NOTHING  # nothing moved: that is said elsewhere


def test_one_earlier_round_is_enough_to_see_a_hundredfold() -> None:
    # One value has no spread, so the smallest one is believed: ln 100 / 0.3 = 15.4.
    assert judged(100.0, [1.0], []) == pytest.approx((math.log(100.0) / 0.3, 100.0))


@pytest.mark.parametrize(("factor", "is_refused"), [(1.6, False), (5.9, False), (6.2, True), (100.0, True)])
def test_six_standard_deviations_of_the_smallest_spread_are_a_factor_of_six(factor: float, *, is_refused: bool) -> None:
    z, _ = judged(factor, [1.0, 1.0, 1.0], [[1.0], [1.0]])
    assert (z > LIMITS.z) is is_refused


def test_a_wide_population_allows_more_but_not_anything() -> None:
    # Logs 0, 2.3, 4.6: deviations from the middle are 2.3, 0, 2.3, so 1.4826 * 2.3 = 3.4, cut to 0.6.
    z, _ = judged(1000.0, [1.0, 10.0, 100.0], [])
    assert z == pytest.approx(math.log(1000.0 / 10.0) / 0.6)


def test_the_larger_of_own_past_and_company_counts() -> None:
    assert judged(10.0, [8.0], [[1.0]])[1] == pytest.approx(10.0 / 8.0)
    assert judged(10.0, [1.0], [[8.0]])[1] == pytest.approx(10.0 / 8.0)


def test_a_site_that_sends_next_to_nothing_makes_nobody_else_look_large() -> None:
    # The source moved by 1, another target by a millionth: the upper middle one of the two is the source.
    assert judged(1.0, [], [[1.0], [1e-6]])[1] == pytest.approx(1.0)
    # And with a long history it still counts as one voice.
    assert judged(1.0, [], [[1.0], [1e-6] * 50, [1.2]])[1] == pytest.approx(1.0)


def test_rounds_in_which_nothing_moved_do_not_count() -> None:
    assert judged(10.0, [0.0, 2.0, 0.0], [[0.0]])[1] == pytest.approx(5.0)


def test_every_column_is_judged_by_itself() -> None:
    found = deviations(
        np.array([1.0, 100.0, 5.0]),
        np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]),
        np.empty((0, 3)),
        spreads=np.array([0.3, 0.4, 0.4]),
        largest_spread=0.6,
    )
    assert found.z.tolist() == pytest.approx([0.0, math.log(100.0) / 0.4, -math.inf])


def _turned(vectors: dict[str, list[float]]) -> dict[str, float]:
    """Sites that are against the others, from plain vectors."""
    units = {name: np.array(vector) / np.linalg.norm(vector) for name, vector in vectors.items()}
    total = np.sum(list(units.values()), axis=0)
    return against_the_others({name: float(unit @ total) for name, unit in units.items()}, float(total @ total), LIMITS)


AGREEING = {"a": [1.0, 0.1], "b": [1.0, -0.1], "c": [1.0, 0.2], "d": [1.0, -0.2]}


def test_one_that_goes_the_other_way_is_found_where_four_others_agree() -> None:
    refused = _turned({**AGREEING, "e": [-1.0, 0.0]})
    assert list(refused) == ["e"]
    assert refused["e"] == pytest.approx(-1.0, abs=1e-2)


def test_a_longer_step_the_other_way_makes_no_difference() -> None:
    assert list(_turned({**AGREEING, "e": [-1e6, 0.0]})) == ["e"]


def test_one_that_goes_sideways_is_left_alone() -> None:
    assert _turned({**AGREEING, "e": [0.0, 1.0]}) == {}


def test_with_three_others_directions_say_nothing() -> None:
    assert _turned({**{name: AGREEING[name] for name in "abc"}, "e": [-1.0, 0.0]}) == {}


def test_where_the_others_disagree_there_is_nothing_to_be_against() -> None:
    scattered = {"a": [1.0, 0.0], "b": [-1.0, 0.1], "c": [0.0, 1.0], "d": [0.1, -1.0], "e": [-1.0, -0.1]}
    assert _turned(scattered) == {}


def test_where_nothing_is_left_of_the_others_there_is_no_direction() -> None:
    assert _turned({"a": [1.0, 0.0], "b": [-1.0, 0.0], "c": [0.0, 1.0], "d": [0.0, -1.0], "e": [1.0, 0.0]}) == {}
