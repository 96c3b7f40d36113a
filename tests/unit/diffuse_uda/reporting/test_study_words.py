from diffuse_uda.reporting.results import Results
from diffuse_uda.reporting.study_words import (
    interval_caption,
    interval_text,
    joined,
    millimetres,
    missing_text,
    p_text,
    percent,
    plural,
    points,
    sample_text,
)


def test_numbers_are_spelt_with_one_decimal_and_a_dash_where_there_is_none() -> None:
    assert [percent(0.5544), points(0.012), points(-0.1), millimetres(3.25)] == ["55.4", "+1.2", "-10.0", "3.2"]
    assert [percent(None), points(None), millimetres(None), p_text(None)] == ["-"] * 4


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    assert points(-0.0001) == "+0.0"


def test_p_has_three_decimals_and_no_meaningless_ones() -> None:
    assert [p_text(0.03125), p_text(0.001), p_text(0.00099)] == ["0.031", "0.001", "<0.001"]


def test_intervals_are_in_brackets() -> None:
    assert interval_text([0.52, 0.581]) == "[52.0, 58.1]"
    assert interval_text([-0.01, 0.02], signed=True) == "[-1.0, +2.0]"
    assert interval_text(None) == ""


def test_words_are_joined_without_gaps() -> None:
    assert joined("a", "", "b") == "a b"
    assert [plural(1, "seed"), plural(2, "seed")] == ["1 seed", "2 seeds"]


def test_captions_name_part_patients_and_seeds(study: Results) -> None:
    text = sample_text(study)
    assert text.startswith("Test part of the labelled target scans")
    assert "6 patients at 2 targets (hull 3, leeds 3); 2 seeds (0, 1)." in text
    assert "95 % percentile bootstrap interval (200 resamples" in interval_caption(study)


def test_what_is_missing_is_said_by_method_and_target() -> None:
    missing = {"asc-plus": {"hull": [1, 2], "leeds": [2]}}
    assert missing_text({"missing": missing}) == "Not there yet: ASC+ (hull: seed 1, 2; leeds: seed 2)."
    assert missing_text({"missing": {}}) == ""
