from typing import Any

from diffuse_uda.reporting.results import Results
from diffuse_uda.reporting.study_comparison_tables import ablation_table, centralised_table, significance_table


def _cells(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return line.strip("| ").split(" | ")


def test_a_difference_has_its_interval_its_test_and_every_target(study: Results) -> None:
    # ASC+ against Diffuse-UDA: 10 points at both targets, for all 6 patients alike; 2 / 2^6 = 0.031; three rows.
    cells = _cells(significance_table(study), "ASC+")
    assert cells == [
        "ASC+",
        "+10.0 [+10.0, +10.0]",
        "0.031",
        "0.094",
        "6 / 0 / 6",
        "0, 1",
        "+10.0 [+10.0, +10.0]",
        "+10.0 [+10.0, +10.0]",
    ]


def test_the_caption_explains_direction_test_and_sample(study: Results) -> None:
    text = significance_table(study)
    for sentence in ("Positive: Diffuse-UDA is better.", "Wilcoxon", "6 patients at 2 targets", "bootstrap"):
        assert sentence in text


def test_federation_is_compared_with_its_reference_and_the_reason_for_no_p_is_given(study: Results) -> None:
    # Hull is equal, so three of six patients differ.
    text = centralised_table(study)
    assert _cells(text, "Diffuse-UDA")[1:5] == ["-1.0 [-1.0, -1.0]", "-", "-", "0 / 3 / 6"]
    assert "No p for Diffuse-UDA: 3 of 6 patients differ; the test needs at least 6." in text


def test_an_ablation_is_named_by_its_row_and_change(study: Results) -> None:
    text = ablation_table(study)
    assert _cells(text, "Diffuse-UDA, no FDA")[1] == "-5.0 [-5.0, -5.0]"
    assert "lines with the same base row" in text


def test_without_comparisons_there_is_no_table(study: Results) -> None:
    empty: dict[str, Any] = {"pooled": {}, "targets": {}}
    study |= {"comparisons": {"row": "diffuse-uda", **empty}, "centralised_difference": empty, "ablations": {}}
    assert significance_table(study) == centralised_table(study) == ablation_table(study) == ""
