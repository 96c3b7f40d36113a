"""The ladder and the ablations are data: rows, keys and steps."""

from __future__ import annotations

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.reporting.rows import base_row, row_name
from diffuse_uda.types import Scalar
from simulations.study.ablations import ablations
from simulations.study.ladder import Engine, Run, diffuse_uda_rows, ladder, step_matched_source_only

BUDGET: dict[str, Scalar] = {
    "num-passes": 2,
    "warm-up.num-rounds": 3,
    "warm-up.num-local-steps": 100,
    "adapt.num-rounds": 8,
    "adapt.num-local-steps": 50,
    "recolour.num-rounds": 2,
    "recolour.num-local-steps": 50,
    "refine.num-rounds": 8,
    "refine.num-local-steps": 25,
}
CONFIG = StudyConfig.from_flat(BUDGET)


def _configured(run: Run, config: StudyConfig) -> StudyConfig:
    return StudyConfig.from_flat({**config.to_flat(), **run.changes})


def test_every_row_of_the_ladder_comes_from_exactly_one_run() -> None:
    rows = [row for run in ladder(CONFIG) for row in run.rows.values()]
    assert sorted(rows) == sorted(
        [
            "source-only",
            "source-only-random-conv",
            "shipped-and-adapted",
            "asc",
            "asc-plus",
            "recoloured",
            "diffuse-uda-pass-1",
            "diffuse-uda",
            "asc-centralised",
            "asc-plus-centralised",
            "recoloured-centralised",
            "diffuse-uda-pass-1-centralised",
            "diffuse-uda-centralised",
            "target-supervised",
        ]
    )


def test_one_pass_has_no_row_of_an_early_pass() -> None:
    assert diffuse_uda_rows(StudyConfig(num_passes=1)) == ["asc-plus", "recoloured", "diffuse-uda"]
    assert diffuse_uda_rows(StudyConfig(num_passes=3))[2:4] == ["diffuse-uda-pass-1", "diffuse-uda-pass-2"]


def test_the_floor_is_plain_and_the_stronger_one_trains_as_long_as_diffuse_uda() -> None:
    runs = {run.name: run for run in ladder(CONFIG)}
    plain = _configured(runs["source-only"], CONFIG)
    strong = _configured(runs["source-only-random-conv"], CONFIG)
    assert (plain.method, plain.warm_up.random_look_share, plain.warm_up.num_rounds) == ("source-only", 0.0, 3)
    # 3 * 100 + 8 * 50 + 2 * 50 + 2 passes * 8 * 25 = 1200 steps
    assert strong.warm_up.num_rounds * strong.warm_up.num_local_steps == 1200
    assert strong.warm_up.random_look_share == 0.8


def test_steps_that_do_not_divide_are_rounded_up_and_a_configured_share_is_kept() -> None:
    config = StudyConfig.from_flat({**BUDGET, "warm-up.num-local-steps": 90, "warm-up.random-look-share": 0.5})
    assert step_matched_source_only(config) == {
        "method": "source-only",
        "warm-up.random-look-share": 0.5,
        "warm-up.num-rounds": 13,  # 270 + 400 + 100 + 400 = 1170 = 13 * 90
    }


def test_only_references_are_not_federated_and_only_the_main_run_scores_its_rounds() -> None:
    engines = {run.name: run.engine for run in ladder(CONFIG)}
    assert {name for name, engine in engines.items() if engine is not Engine.FEDERATED} == {
        "asc-centralised",
        "diffuse-uda-centralised",
        "target-supervised",
    }
    assert [run.name for run in ladder(CONFIG) if run.scores_rounds] == ["diffuse-uda"]


@pytest.mark.parametrize("run", ablations(CONFIG), ids=lambda run: run.name)
def test_an_ablation_is_a_valid_configuration_of_one_pass_with_one_thing_changed(run: Run) -> None:
    config = _configured(run, CONFIG)
    assert (config.method, config.num_passes) == ("diffuse-uda", 1)
    (row,) = (row for row in run.rows.values() if base_row(row).startswith("diffuse-uda"))
    assert base_row(row) == "diffuse-uda-pass-1"
    assert (
        run.one_target
        or not run.has_paired_looks
        or config != StudyConfig.from_flat({**CONFIG.to_flat(), "method": "diffuse-uda", "num-passes": 1})
    )


def test_an_ablation_of_the_adaptation_shows_in_asc_plus_as_well() -> None:
    rows = {run.name: run.rows for run in ablations(CONFIG)}
    assert rows["ablation-no-cut-mix"]["asc-plus"] == "asc-plus--no-cut-mix"
    assert "asc-plus" not in rows["ablation-no-deformation"]
    assert row_name("asc-plus--no-cut-mix") == "ASC+, no cut mix"


def test_the_price_of_federating_is_asked_with_the_same_looks() -> None:
    run = next(run for run in ablations(CONFIG) if run.name == "ablation-pooled")
    assert (run.engine, run.has_paired_looks) == (Engine.CENTRALISED, False)
    assert run.rows == {
        "diffuse-uda-centralised": "diffuse-uda-pass-1--pooled",
        "asc-plus-centralised": "asc-plus--pooled",
    }
    assert all(other.has_paired_looks for other in ladder(CONFIG))


def test_what_the_study_does_anyhow_is_no_ablation() -> None:
    names = {run.name for run in ablations(CONFIG)}
    assert "ablation-style-none" not in names  # the preset's provider
    assert "ablation-style-synthetic" in names
    swapped = StudyConfig.from_flat({**BUDGET, "style.provider": "synthetic", "num-passes": 1})
    of_swapped = {run.name: run for run in ablations(swapped)}
    assert "ablation-style-none" in of_swapped
    assert of_swapped["ablation-no-cut-mix"].rows["diffuse-uda"] == "diffuse-uda--no-cut-mix"


@pytest.mark.parametrize(("name", "adapt", "refine"), [("half", (16, 25), (17, 12)), ("twice", (4, 100), (4, 50))])
def test_other_steps_a_round_are_as_many_in_all(name: str, adapt: tuple[int, int], refine: tuple[int, int]) -> None:
    run = next(run for run in ablations(CONFIG) if run.name == f"ablation-{name}-the-local-steps")
    config = _configured(run, CONFIG)
    assert (config.adapt.num_rounds, config.adapt.num_local_steps) == adapt
    assert (config.refine.num_rounds, config.refine.num_local_steps) == refine  # 17 * 12 = 204, not 200
