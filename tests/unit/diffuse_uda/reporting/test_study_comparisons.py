import pytest

from diffuse_uda.reporting.comparison import PatientScores
from diffuse_uda.reporting.study_comparisons import (
    Statistics,
    ablation_differences,
    centralised_differences,
    headline_comparisons,
)

QUICK = Statistics(num_resamples=200)


def _patients(mean: float, seeds: tuple[int, ...] = (0,)) -> PatientScores:
    """Six patients at leeds around a mean, two at hull at 0.1 above it."""
    return {
        "leeds": {str(index): dict.fromkeys(seeds, mean + 0.001 * (index - 2.5) * index) for index in range(6)},
        "hull": {str(index): dict.fromkeys(seeds, mean + 0.1) for index in range(2)},
    }


SCORES = {
    "source-only": {"leeds": {str(index): {0: 0.1} for index in range(6)}, "hull": {"0": {0: 0.1}, "1": {0: 0.2}}},
    "asc-plus": _patients(0.5),
    "diffuse-uda": _patients(0.6, seeds=(0, 1)),
    "diffuse-uda-centralised": _patients(0.62, seeds=(1,)),
    "diffuse-uda--no-fda": _patients(0.55),
    "mine--no-fda": _patients(0.5),
}


def test_the_headline_is_compared_with_what_a_site_could_run_and_not_with_references_or_ablations() -> None:
    comparisons = headline_comparisons(SCORES, "diffuse-uda", ["hull", "leeds"], QUICK)
    assert comparisons["row"] == "diffuse-uda"
    assert list(comparisons["pooled"]) == ["source-only", "asc-plus"]
    pooled = comparisons["pooled"]["asc-plus"]
    assert pooled["difference"] == pytest.approx(0.1)
    assert pooled["interval"] == pytest.approx([0.1, 0.1])
    assert (pooled["num_patients"], pooled["num_better"], pooled["seeds"]) == (8, 8, [0])
    # 8 equal gains: 2 / 2^8 exactly; source-only likewise: Holm makes both 4 / 256, of which three digits are kept.
    assert (pooled["p"], pooled["p_holm"]) == (0.00781, 0.0156)


def test_a_target_is_a_family_of_its_own_and_two_patients_test_nothing() -> None:
    targets = headline_comparisons(SCORES, "diffuse-uda", ["hull", "leeds"], QUICK)["targets"]
    assert targets["leeds"]["asc-plus"]["p"] == 0.0312
    assert targets["leeds"]["asc-plus"]["p_holm"] == 0.0625
    assert targets["hull"]["asc-plus"]["p"] is None
    assert targets["hull"]["asc-plus"]["undefined_because"] == "2 of 2 patients differ; the test needs at least 6"
    assert targets["hull"]["source-only"]["difference"] == pytest.approx(0.55)


def test_without_the_headline_row_nothing_is_compared() -> None:
    comparisons = headline_comparisons(SCORES, "le-uda", ["leeds"], QUICK)
    assert comparisons == {"row": "le-uda", "pooled": {}, "targets": {"leeds": {}}}


def test_a_federated_row_is_compared_with_its_own_reference_on_common_seeds() -> None:
    differences = centralised_differences(SCORES, ["leeds"], QUICK)
    assert list(differences["pooled"]) == ["diffuse-uda"]
    assert differences["pooled"]["diffuse-uda"]["difference"] == pytest.approx(-0.02)
    assert differences["pooled"]["diffuse-uda"]["seeds"] == [1]
    assert differences["pooled"]["diffuse-uda"]["num_worse"] == 8


def test_an_ablation_is_compared_with_the_row_it_changed_if_that_row_is_there() -> None:
    differences = ablation_differences(SCORES, ["leeds"], QUICK)
    assert list(differences) == ["diffuse-uda"]
    assert differences["diffuse-uda"]["pooled"]["diffuse-uda--no-fda"]["difference"] == pytest.approx(-0.05)


def test_the_interval_of_a_row_is_none_where_a_site_has_one_patient() -> None:
    assert QUICK.interval_of({"leeds": {"a": {0: 0.5}}}) is None
    assert QUICK.interval_of({"leeds": {"a": {0: 0.5}, "b": {0: 0.5}}}) == [0.5, 0.5]


def test_equal_statistics_give_equal_digits_and_rows_share_their_resamples() -> None:
    patients = {"leeds": {str(index): {0: 0.1 * index} for index in range(6)}}
    higher = {"leeds": {str(index): {0: 0.1 * index + 0.25} for index in range(6)}}
    first, second = QUICK.interval_of(patients), QUICK.interval_of(higher)
    assert first == QUICK.interval_of(patients)
    assert first is not None
    assert second == pytest.approx([None if bound is None else bound + 0.25 for bound in first])
    other = Statistics(num_resamples=200, bootstrap_seed=1).interval_of(patients)
    assert other != first
