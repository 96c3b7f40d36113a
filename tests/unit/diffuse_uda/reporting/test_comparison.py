import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuse_uda.reporting.comparison import (
    compare_rows,
    corrected_family,
    holm,
    paired_differences,
    patient_means,
    signed_rank,
    stratified_interval,
    stratified_mean,
)


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_never_falls() -> None:
    # In order: 0.01 * 4 = 0.04, 0.02 * 3 = 0.06, 0.03 * 2 = 0.06, 0.04 * 1 = 0.04 which may not fall below 0.06.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_ends_at_one_and_a_test_that_was_not_made_is_none_of_the_family() -> None:
    assert holm([0.6, None, 0.02]) == [0.6, None, 0.04]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    for p, corrected in zip(p_values, holm(p_values), strict=True):
        assert corrected is not None
        assert p <= corrected <= min(1.0, len(p_values) * p)


def test_six_patients_that_all_gain_have_two_chances_in_sixty_four() -> None:
    outcome = signed_rank(np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]))
    assert outcome.p == pytest.approx(2 / 64)
    assert outcome.undefined_because is None


def test_the_direction_does_not_matter_to_a_two_sided_test() -> None:
    differences = np.array([0.01, -0.02, 0.03, 0.04, 0.05, 0.06, 0.07])
    assert signed_rank(differences).p == signed_rank(-differences).p


def test_patients_without_a_difference_are_dropped_and_too_few_others_give_a_reason() -> None:
    outcome = signed_rank(np.array([0.0, 0.0, 0.01, 0.02, 0.03, 0.04, 0.05]))
    assert outcome.p is None
    assert outcome.undefined_because == "5 of 7 patients differ; the test needs at least 6"


def test_equal_differences_are_tested_without_a_warning() -> None:
    assert signed_rank(np.full(6, 0.5)).p == pytest.approx(2 / 64)
    many = signed_rank(np.full(20, 0.5)).p
    assert many is not None
    assert many < 0.001


def test_a_patient_counts_once_however_many_seeds_there_are() -> None:
    means = patient_means({"leeds": {"a": {0: 0.4, 1: 0.6}, "b": {0: 0.7}}, "hull": {}})
    assert [values.tolist() for values in means] == [[0.5, 0.7]]


def test_only_patients_and_seeds_of_both_rows_are_compared() -> None:
    # Patient a: seed 1 is in both, 0.6 - 0.5. Patient b has no common seed, c is missing, hull is missing.
    of = {"leeds": {"a": {0: 0.9, 1: 0.6}, "b": {0: 0.5}, "c": {0: 0.5}}, "hull": {"d": {0: 0.1}}}
    against = {"leeds": {"a": {1: 0.5, 2: 0.1}, "b": {1: 0.5}}}
    assert [values.tolist() for values in paired_differences(of, against)] == [[0.1]]


def test_a_difference_that_is_zero_on_paper_is_zero() -> None:
    (values,) = paired_differences({"leeds": {"a": {0: 0.1 + 0.2}}}, {"leeds": {"a": {0: 0.3}}})
    assert values.tolist() == [0.0]


def test_every_site_weighs_alike_however_many_patients_it_has() -> None:
    assert stratified_mean([np.array([0.2, 0.4, 0.6]), np.array([0.8])]) == pytest.approx(0.6)
    assert stratified_mean([]) is None


def test_the_interval_of_equal_patients_is_their_value_though_sites_differ() -> None:
    # Patients never change their site: 0.5 * (0.2 + 0.8) whatever is drawn.
    interval = stratified_interval([np.full(3, 0.2), np.full(5, 0.8)], generator=_generator(), num_resamples=50)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.5, 0.5))


def test_the_interval_of_two_patients_is_between_them() -> None:
    # The mean of two draws of 0 and 1 is 0, 0.5 or 1 with chances 1/4, 1/2, 1/4: 95 % reach from end to end.
    wide = stratified_interval([np.array([0.0, 1.0])], generator=_generator())
    narrow = stratified_interval([np.array([0.0, 1.0])], generator=_generator(), level=0.4)
    assert wide is not None
    assert narrow is not None
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_the_interval_has_the_width_that_theory_gives() -> None:
    # 100 patients with variance 1/4 (zeros and ones): standard error 0.05, so 0.5 - 1.96 * 0.05 = 0.402.
    interval = stratified_interval([np.repeat([0.0, 1.0], 50)], generator=_generator())
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.402, 0.598), abs=0.012)


def test_a_site_with_one_patient_has_no_interval() -> None:
    assert stratified_interval([np.array([0.1, 0.2]), np.array([0.5])], generator=_generator()) is None
    assert stratified_interval([], generator=_generator()) is None


@pytest.mark.parametrize(("num_resamples", "level"), [(0, 0.95), (10, 0.0), (10, 1.0)])
def test_no_resamples_and_impossible_levels_are_refused(num_resamples: int, level: float) -> None:
    with pytest.raises(ValueError, match="num_resamples must be at least 1 and level in"):
        stratified_interval([np.zeros(2)], generator=_generator(), num_resamples=num_resamples, level=level)


def test_a_comparison_counts_who_gained_and_who_lost() -> None:
    of = {"leeds": {str(index): {0: 0.5 + 0.01 * index} for index in range(-1, 7)}}
    against = {"leeds": {str(index): {0: 0.5} for index in range(-1, 7)}}
    comparison = compare_rows(of, against, generator=_generator(), num_resamples=100)
    assert comparison.difference == pytest.approx(0.01 * (-1 + 0 + 1 + 2 + 3 + 4 + 5 + 6) / 8)
    assert (comparison.num_patients, comparison.num_better, comparison.num_worse) == (8, 6, 1)
    assert comparison.interval is not None
    assert comparison.interval.low < 0.025 < comparison.interval.high
    # Ranks of 7 differences, two of them tied at 1.5; the loss has 1.5, so that chances are (1 + 1 + 1) / 2^7 a side.
    assert comparison.p == pytest.approx(2 * 3 / 128)
    assert comparison.p_holm == comparison.p


def test_rows_without_a_common_patient_are_compared_to_nothing() -> None:
    comparison = compare_rows({}, {}, generator=_generator())
    assert (comparison.difference, comparison.interval, comparison.p) == (None, None, None)
    assert comparison.undefined_because == "0 of 0 patients differ; the test needs at least 6"


def test_a_family_shares_its_correction() -> None:
    of = {"leeds": {str(index): {0: 0.1 * index} for index in range(1, 7)}}
    zero = {"leeds": {str(index): {0: 0.0} for index in range(1, 7)}}
    single = compare_rows(of, zero, generator=_generator(), num_resamples=10)
    family = corrected_family({"a": single, "b": single, "c": compare_rows({}, {}, generator=_generator())})
    assert [family[row].p_holm for row in "abc"] == [pytest.approx(4 / 64), pytest.approx(4 / 64), None]
