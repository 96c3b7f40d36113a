import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.errors import InputError
from diffuse_uda.reporting.results import (
    Results,
    build_results,
    load_results,
    results_text,
    stable_part,
    write_results,
)
from diffuse_uda.reporting.scores import SiteScores

MakeSites = Callable[[Mapping[str, Mapping[str, float]]], list[SiteScores]]


def _build(sites: list[SiteScores], measured: Mapping[str, Any] | None = None) -> Results:
    return build_results(sites, seeds=[0], exchange={}, measured=measured or {})


def test_the_stable_keys_are_there_with_numbers_worked_out_by_hand(results: Results) -> None:
    # Leeds: (0.6 - 0.4) / 0.4 = 0.5. Hull: (0.5 - 0.2) / 0.6 = 0.5. ASC+: 0.25 and 1/3.
    assert results["seeds"] == [3]
    assert results["sites"]["leeds"] == {"role": "target", "num_train": 5, "num_test": 2}
    assert results["summary"]["diffuse-uda"]["dice_mean"] == 0.55
    assert results["summary"]["diffuse-uda"]["gap_closed_mean"] == 0.5
    assert results["summary"]["asc-plus"]["gap_closed_mean"] == pytest.approx((0.25 + 1 / 3) / 2, abs=1e-6)
    assert results["summary"]["asc-plus"]["gap_closed_worst"] == 0.25
    assert results["summary"]["source-only"]["gap_closed_mean"] == 0.0
    assert results["summary"]["target-supervised"]["gap_closed_worst"] == 1.0
    assert results["targets"]["hull"]["diffuse-uda"]["dice"] == 0.5
    assert results["targets"]["hull"]["diffuse-uda"]["hd95_mm"] == 5.0
    assert results["targets"]["hull"]["diffuse-uda"]["structures"]["core"]["dice"] == 0.5
    assert results["source"]["source-only"]["dice"] == 0.9


def test_rows_and_sites_come_in_reading_order_whatever_order_they_arrive_in(make_sites: MakeSites) -> None:
    table = {"leeds": {"diffuse-uda": 0.6, "source-only": 0.4}, "hull": {"source-only": 0.2, "diffuse-uda": 0.5}}
    sites = make_sites(table)
    results = _build(sites[::-1])
    assert list(results["sites"]) == ["york", "hull", "leeds"]
    assert results["rows"] == ["source-only", "diffuse-uda"]
    assert results_text(results) == results_text(_build(sites))


def test_two_runs_that_differ_in_time_alone_agree_in_their_stable_part(make_sites: MakeSites) -> None:
    sites = make_sites({"leeds": {"source-only": 1 / 3}})
    first, second = _build(sites, {"timing": {"all": 1.0}}), _build(sites, {"timing": {"all": 2.0}})
    assert first != second
    assert results_text(stable_part(first)) == results_text(stable_part(second))


def test_without_a_supervised_row_the_gap_is_null_and_the_reason_is_there(make_sites: MakeSites) -> None:
    results = _build(make_sites({"leeds": {"source-only": 0.4, "asc": 0.6}}))
    assert results["summary"]["asc"]["gap_closed_mean"] is None
    assert results["gaps"]["leeds"] == {"dice": None, "undefined_because": "no target-supervised row"}


def test_one_undefined_target_does_not_spoil_the_mean(make_sites: MakeSites) -> None:
    with_labels = {"source-only": 0.4, "asc": 0.6, "target-supervised": 0.8}
    results = _build(make_sites({"leeds": with_labels, "hull": {"source-only": 0.5, "asc": 0.7}}))
    assert results["summary"]["asc"]["gap_closed_mean"] == 0.5
    assert results["summary"]["asc"]["dice_mean"] == 0.65
    assert results["summary"]["asc"]["num_targets"] == 2
    assert results["summary"]["target-supervised"]["num_targets"] == 1


def test_a_target_without_labels_is_present_and_empty(make_sites: MakeSites) -> None:
    results = _build(make_sites({"leeds": {}}))
    assert results["targets"] == {"leeds": {}}
    assert results["gaps"]["leeds"]["undefined_because"] == "no source-only row"


def test_no_source_and_no_targets_still_make_a_file(make_sites: MakeSites) -> None:
    results = _build([])
    assert (results["targets"], results["source"], results["summary"]) == ({}, {}, {})


def test_two_sites_of_one_name_are_refused(make_sites: MakeSites) -> None:
    sites = make_sites({"leeds": {}})
    with pytest.raises(ValueError, match="repeat"):
        _build([*sites, sites[-1]])


def test_what_was_written_is_read(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    write_results(path, results)
    assert load_results(path) == results
    assert path.read_text(encoding="utf-8") == results_text(results)
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_number_that_is_not_finite_never_gets_into_a_file(tmp_path: Path, results: Results) -> None:
    results["summary"]["asc-plus"]["dice_mean"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        write_results(tmp_path / "results.json", results)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "no JSON"),
        ("[]", "a JSON list"),
        (json.dumps({"schema": 99}), "schema 99"),
        (json.dumps({"schema": 1}), "no seeds, sites"),
    ],
)
def test_what_is_no_results_file_is_refused_with_what_was_found(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_results(path)
    assert found in caught.value.findings[0].found
    assert caught.value.findings[0].file == "results.json"


def test_a_missing_results_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_results(tmp_path / "results.json")
