from collections.abc import Callable
from dataclasses import replace

import pytest

from diffuse_uda.reporting.scores import SiteScores, case_dice
from diffuse_uda.reporting.study_runs import (
    StudyRun,
    collect_sites,
    missing_cells,
    repeated_rows,
    without_case_ids,
)
from diffuse_uda.types import SiteRole

MakeRun = Callable[..., StudyRun]


def test_runs_of_several_seeds_and_rows_come_together_by_site(make_run: MakeRun) -> None:
    sites = collect_sites(
        [
            make_run(1, {"leeds": {"asc": [0.5]}}),
            make_run(0, {"leeds": {"asc": [0.4, 0.6]}, "hull": {"asc": [0.3]}}),
            make_run(0, {"leeds": {"source-only": [0.2]}}),
        ]
    )
    assert [site.site_id for site in sites] == ["york", "hull", "leeds"]
    leeds = sites[2]
    assert {row: list(cell) for row, cell in leeds.rows.items()} == {"asc": [0, 1], "source-only": [0]}
    assert (leeds.num_train, leeds.num_test) == (5, 2)


def test_of_a_row_that_two_runs_hold_the_first_counts_and_is_named(make_run: MakeRun) -> None:
    runs = [make_run(0, {"leeds": {"asc": [0.5]}}), make_run(0, {"leeds": {"asc": [0.9], "asc-plus": [0.6]}})]
    (case,) = collect_sites(runs)[1].rows["asc"][0]
    assert case_dice(case) == 0.5
    assert repeated_rows(runs) == {"asc": [0]}
    assert repeated_rows(runs[:1]) == {}


def test_a_site_that_changes_its_role_is_refused(make_run: MakeRun) -> None:
    first = make_run(0, {"leeds": {}})
    turned = replace(first, seed=1, sites=[replace(site, role=SiteRole.TARGET) for site in first.sites])
    with pytest.raises(ValueError, match="'york' is target with seed 1 and source before"):
        collect_sites([first, turned])


def test_two_sites_of_one_name_are_refused(make_run: MakeRun) -> None:
    run = make_run(4, {"leeds": {}})
    with pytest.raises(ValueError, match="seed 4: site names repeat"):
        collect_sites([replace(run, sites=[*run.sites, run.sites[-1]])])


def test_what_was_planned_and_is_not_there_is_listed_by_row_and_target(make_run: MakeRun) -> None:
    unlabelled = SiteScores(site_id="bath", role=SiteRole.TARGET, num_train=5, num_test=0)
    run = make_run(0, {"leeds": {"asc": [0.5]}, "hull": {"asc": [0.5], "source-only": [0.5]}})
    sites = collect_sites([replace(run, sites=[*run.sites, unlabelled])])
    assert missing_cells(sites, ["source-only", "asc"], [0, 1]) == {
        "source-only": {"hull": [1], "leeds": [0, 1]},
        "asc": {"hull": [1], "leeds": [1]},
    }
    assert missing_cells(sites, ["asc"], [0]) == {}


def test_numbered_patients_are_the_same_in_every_row_and_no_name_is_left(make_run: MakeRun) -> None:
    sites = without_case_ids(collect_sites([make_run(0, {"leeds": {"asc": [0.1, 0.2], "asc-plus": [0.3]}})]))
    numbers = {row: [case.case_id for case in cell[0]] for row, cell in sites[1].rows.items()}
    assert numbers == {"asc": ["01", "02"], "asc-plus": ["01"]}
