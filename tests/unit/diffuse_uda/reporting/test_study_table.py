from collections.abc import Callable

from diffuse_uda.algorithms.metrics import StructureScore, StructureStatus
from diffuse_uda.reporting.results import Results
from diffuse_uda.reporting.scores import CaseScores, SiteScores
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import StudyRun
from diffuse_uda.reporting.study_table import cost_table, main_table, oracle_table, structure_table, study_markdown
from diffuse_uda.types import SiteRole

MakeRun = Callable[..., StudyRun]


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


def test_the_main_table_holds_targets_mean_interval_worst_and_gap(study: Results) -> None:
    # HD95 is 10 - 10 Dice: hull 4.9, leeds 3.9. Standard deviation of two seeds 0.02 apart: 1.4 points.
    cells = _line(main_table(study), "**Diffuse-UDA**").split(" | ")
    assert cells[1:3] == ["51.0 ± 1.4 / 4.9", "61.0 ± 1.4 / 3.9"]
    assert cells[3].startswith("56.0 ± 1.4 [")
    assert cells[4:] == ["hull, 51.0", "50.0 (50.0)", "50.0", "0 of 24 |"]
    assert "no FDA" not in main_table(study)


def test_the_caption_says_what_the_numbers_are_of(study: Results) -> None:
    text = main_table(study)
    assert "6 patients at 2 targets (hull 3, leeds 3); 2 seeds (0, 1)." in text
    assert "percentile bootstrap interval" in text
    assert "± is the standard deviation over seeds." in text


def test_one_seed_one_target_and_no_reference_are_said_plainly(make_run: MakeRun) -> None:
    results = build_study_results([make_run(0, {"leeds": {"source-only": [0.4], "asc": [0.5]}})], part="development")
    text = study_markdown(results)
    assert _line(text, "ASC") == "| ASC | 50.0 / 5.0 | 50.0 | leeds, 50.0 | - | - | 0 of 2 |"
    assert "one seed" in text
    assert "No share of the gap at leeds: no target-supervised row." in text
    assert "## Ablations" not in text
    assert "against every other row" not in text


def test_a_row_without_every_target_says_so_and_what_is_missing(make_run: MakeRun) -> None:
    runs = [make_run(0, {"leeds": {"source-only": [0.4], "asc": [0.5]}, "hull": {"source-only": [0.2]}})]
    text = main_table(build_study_results(runs, part="test"))
    assert _line(text, "ASC").startswith("| ASC | - | 50.0 / 5.0 | 50.0 (1 of 2 targets) |")
    assert "Not there yet: ASC (hull: seed 0)." in text


def test_a_missed_structure_has_no_distance_and_is_counted() -> None:
    missed = StructureScore(dice=0.0, hd95_mm=None, assd_mm=None, nsd=0.0, status=StructureStatus.EMPTY_PREDICTION)
    site = SiteScores(
        site_id="leeds",
        role=SiteRole.TARGET,
        num_train=5,
        num_test=1,
        rows={"asc": [CaseScores(case_id="a", scores={"core": missed})]},
    )
    results = build_study_results([StudyRun(seed=0, sites=[site])], part="test")
    assert _line(main_table(results), "ASC") == "| ASC | 0.0 / - | 0.0 | leeds, 0.0 | - | - | 1 of 1 |"
    assert _line(structure_table(results), "leeds") == "| leeds | ASC | 0.0 (1 missed) |"
    assert cost_table(results) == oracle_table(results) == ""


def test_a_structure_that_a_row_does_not_have_is_a_dash(study: Results) -> None:
    del study["targets"]["hull"]["asc-plus"]["structures"]["core"]
    assert _line(structure_table(study), "hull | ASC+") == "| hull | ASC+ | 41.0 | - |"


def test_an_unscored_row_has_no_worst_target(study: Results) -> None:
    study["summary"]["asc-plus"] |= {"worst_site": None, "dice_mean": None, "dice_std": None, "interval": None}
    cells = _line(main_table(study), "ASC+").split(" | ")
    assert cells[3:5] == ["-", "-"]


def test_costs_are_in_megabytes_and_minutes(study: Results) -> None:
    # 60 s with seed 0, 61 s with seed 1.
    assert _line(cost_table(study), "ASC+") == "| ASC+ | 3 | 2.0 | 0.0 | 1.0 | - |"


def test_the_price_of_choosing_without_labels_has_a_sign(study: Results) -> None:
    assert _line(oracle_table(study), "Diffuse-UDA | leeds") == "| Diffuse-UDA | leeds | 50.0 | 51.0 | +1.0 | 2, 3 |"


def test_the_document_has_every_section_and_ends_with_where_it_came_from(study: Results) -> None:
    text = study_markdown(study)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Methods and targets",
        "## Diffuse-UDA against every other row",
        "## Federated against centralised",
        "## Structures",
        "## Ablations",
        "## The price of choosing without labels",
        "## Cost",
    ]
    assert text.splitlines()[-1] == "`python -m simulations study`; seeds 0, 1; commit abc"


def test_a_study_of_nothing_is_a_document_all_the_same() -> None:
    assert "0 patients at 0 targets" in study_markdown(build_study_results([], part="test"))
