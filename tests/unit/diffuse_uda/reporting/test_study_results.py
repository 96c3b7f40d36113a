import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from diffuse_uda.reporting.headline import compose_headline
from diffuse_uda.reporting.results import Results, load_results, results_text, stable_part, write_results
from diffuse_uda.reporting.study_comparisons import Statistics
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import StudyRun

MakeRun = Callable[..., StudyRun]
QUICK = Statistics(num_resamples=50)


def test_the_stable_keys_are_means_over_the_seeds(study: Results) -> None:
    # Seed 1 is 0.02 above seed 0: leeds 0.61, hull 0.51 for Diffuse-UDA; floor 0.41 and 0.21; ceiling 0.81.
    assert study["seeds"] == [0, 1]
    assert study["sites"]["leeds"] == {"role": "target", "num_train": 5, "num_test": 3}
    assert study["targets"]["leeds"]["diffuse-uda"]["dice"] == pytest.approx(0.61)
    assert study["targets"]["leeds"]["diffuse-uda"]["hd95_mm"] == pytest.approx(3.9)
    assert study["summary"]["diffuse-uda"]["dice_mean"] == pytest.approx(0.56)
    assert study["summary"]["diffuse-uda"]["gap_closed_mean"] == pytest.approx((0.5 + 0.5) / 2)
    assert study["summary"]["asc-plus"]["gap_closed_mean"] == pytest.approx((0.25 + 1 / 3) / 2, abs=1e-6)
    assert study["summary"]["asc-plus"]["gap_closed_worst"] == pytest.approx(0.25)


def test_the_gap_of_the_means_is_not_the_mean_of_the_gaps(study: Results) -> None:
    # ASC+: means 0.46, floor 0.31, ceiling 0.81: 0.15 / 0.5 = 0.3; the mean of 1/4 and 1/3 is 0.292.
    assert study["summary"]["asc-plus"]["gap_closed_of_means"] == pytest.approx(0.3)


def test_the_worst_target_stands_beside_the_mean(study: Results) -> None:
    summary = study["summary"]["diffuse-uda"]
    assert (summary["worst_site"], summary["dice_worst"]) == ("hull", pytest.approx(0.51))


def test_the_spread_is_over_seeds_and_the_interval_over_patients(study: Results) -> None:
    summary = study["summary"]["diffuse-uda"]
    assert summary["dice_std"] == pytest.approx(0.02 / 2**0.5, abs=1e-6)
    low, high = summary["interval"]
    assert 0.46 <= low < 0.56 < high <= 0.66
    assert summary["num_patients"] == 6
    assert study["targets"]["hull"]["diffuse-uda"]["interval"][0] >= 0.41


def test_every_seed_and_patient_can_be_looked_up(study: Results) -> None:
    assert study["per_seed"]["1"]["hull"]["diffuse-uda"]["dice"] == pytest.approx(0.52)
    assert study["patients"]["hull"]["diffuse-uda"]["hull-2"]["dice"] == pytest.approx([0.6, 0.62])
    assert study["targets"]["hull"]["diffuse-uda"]["structures"]["core"]["dice"] == pytest.approx(0.51)


def test_differences_are_those_of_the_table(study: Results) -> None:
    assert study["comparisons"]["pooled"]["asc-plus"]["difference"] == pytest.approx(0.1)
    assert study["centralised_difference"]["pooled"]["diffuse-uda"]["difference"] == pytest.approx(-0.01)
    ablation = study["ablations"]["diffuse-uda"]["targets"]["leeds"]["diffuse-uda--no-fda"]
    assert ablation["difference"] == pytest.approx(-0.05)


def test_the_oracle_is_apart_with_its_rounds_by_seed(study: Results) -> None:
    # Oracle 0.5 with seed 0 and 0.52 with seed 1.
    assert study["oracle"]["diffuse-uda"]["leeds"] == {
        "dice": 0.5,
        "oracle_dice": 0.51,
        "oracle_rounds": {"0": 2, "1": 3},
    }


def test_bytes_are_stable_and_seconds_are_measured(study: Results) -> None:
    assert study["cost"]["asc-plus"] == {
        "to_sites_bytes": 2_000_000,
        "to_server_bytes": 0,
        "rounds": 3,
        "num_seeds": 2,
    }
    assert study["measured"]["timing"]["rows"]["asc-plus"]["seconds"] == 60.5
    assert [run["commit"] for run in study["measured"]["runs"]] == ["abc0", "abc1"]
    assert study["exchange"]["total"]["to_sites_bytes"] == 4_000_000


def test_runs_in_another_order_and_of_another_speed_give_the_same_stable_bytes(make_run: MakeRun) -> None:
    runs = [make_run(seed, {"leeds": {"source-only": [0.1 * seed, 0.3], "asc": [0.4, 0.5]}}) for seed in (0, 1)]
    slower = [
        replace(run, costs={row: replace(cost, seconds=9e9) for row, cost in run.costs.items()}) for run in runs[::-1]
    ]
    first = build_study_results(runs, part="test", statistics=QUICK)
    second = build_study_results(slower, part="test", statistics=QUICK)
    assert first != second
    assert results_text(stable_part(first)) == results_text(stable_part(second))


def test_a_row_that_is_added_changes_no_digit_of_the_others(make_run: MakeRun) -> None:
    first = build_study_results([make_run(0, {"leeds": {"asc": [0.2, 0.4, 0.5]}})], part="all", statistics=QUICK)
    both = {"leeds": {"asc": [0.2, 0.4, 0.5], "source-only": [0.1, 0.2, 0.1]}}
    second = build_study_results([make_run(0, both)], part="all", statistics=QUICK)
    assert first["summary"]["asc"] == second["summary"]["asc"]


def test_a_study_that_is_not_finished_says_what_is_missing(make_run: MakeRun) -> None:
    runs = [
        make_run(0, {"leeds": {"source-only": [0.4], "diffuse-uda": [0.6]}, "hull": {"source-only": [0.2]}}),
        make_run(1, {"leeds": {"source-only": [0.5]}}),
    ]
    rows = ["source-only", "diffuse-uda", "target-supervised"]
    results = build_study_results(runs, part="development", rows=rows, seeds=[0, 1], statistics=QUICK)
    assert results["missing"] == {
        "source-only": {"hull": [1]},
        "diffuse-uda": {"hull": [0, 1], "leeds": [1]},
        "target-supervised": {"hull": [0, 1], "leeds": [0, 1]},
    }
    assert results["rows"] == ["source-only", "diffuse-uda"]
    assert results["summary"]["diffuse-uda"]["num_targets"] == 1
    assert results["summary"]["diffuse-uda"]["gap_closed_mean"] is None
    assert results["summary"]["diffuse-uda"]["gap_closed_of_means"] is None
    assert results["gaps"]["leeds"]["undefined_because"] == "no target-supervised row"
    # Only seed 0 holds both targets of source-only: one mean has no spread.
    assert results["summary"]["source-only"]["dice_std"] is None
    assert results["comparisons"]["pooled"]["source-only"]["difference"] == pytest.approx(0.2)
    assert results["comparisons"]["pooled"]["source-only"]["seeds"] == [0]


def test_planned_ablations_are_missed_only_if_they_were_planned(make_run: MakeRun) -> None:
    runs = [make_run(0, {"leeds": {"asc": [0.5], "asc--no-fda": [0.4]}}), make_run(1, {"leeds": {"asc": [0.5]}})]
    assert build_study_results(runs, part="all", statistics=QUICK)["missing"] == {}
    planned = build_study_results(runs, part="all", rows=["asc--no-fda"], statistics=QUICK)
    assert planned["missing"] == {"asc--no-fda": {"leeds": [1]}}


def test_patients_can_be_numbered(make_run: MakeRun) -> None:
    results = build_study_results([make_run(0, {"leeds": {"asc": [0.5]}})], part="all", anonymous=True)
    assert list(results["patients"]["leeds"]["asc"]) == ["01"]
    assert "leeds-0" not in json.dumps(results)


def test_a_study_is_a_results_file_that_the_page_understands(study: Results, tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", study)
    assert load_results(tmp_path / "results.json") == study
    assert (
        "Diffuse-UDA raised the mean Dice over 2 target centres from 0.310 to 0.560" in compose_headline(study).sentence
    )


def test_no_runs_make_an_empty_study() -> None:
    results = build_study_results([], part="test")
    assert (results["targets"], results["summary"], results["seeds"]) == ({}, {}, [])


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ValueError, match="part is 'train'; scores are of one of development, test, all"):
        build_study_results([], part="train")
