"""The same comparison at several numbers of labelled source scans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from simulations.centres import Centre
from simulations.study import budgets
from simulations.study.budget_ladder import budget_ladder, le_uda_ablations
from simulations.study.budgets import budget_studies, carry_out_budgets
from simulations.study.command import Wanted
from simulations.study.plan import Study, jobs_of


@pytest.fixture
def study(centres: tuple[Centre, ...], tmp_path: Path) -> Study:
    return Study(
        name="few",
        config=StudyConfig(),
        centres=centres,
        seeds=(0, 1),
        part="development",
        out=tmp_path / "runs",
        command="test",
    )


def test_rows_at_a_budget_are_those_of_methods_without_and_with_unlabelled_scans() -> None:
    rows = [name for run in budget_ladder(StudyConfig()) for name in run.rows.values()]
    assert rows == [
        "source-only",
        "source-only-random-conv",
        "shipped-and-adapted",
        "asc-plus",
        "recoloured",
        "diffuse-uda",
        "target-supervised",
        "mt-uda",
        "le-uda",
        "le-uda-recoloured",
        "le-uda-diffuse-uda",
    ]


def test_critics_are_all_that_tells_mt_uda_from_le_uda() -> None:
    runs = {run.name: run for run in budget_ladder(StudyConfig())}
    flat = StudyConfig().to_flat()
    mt, le = (StudyConfig.from_flat({**flat, **runs[name].changes}) for name in ("mt-uda", "le-uda-diffuse-uda"))
    assert (mt.has_critics, le.has_critics) == (False, True)


def test_an_ablation_that_changes_nothing_is_left_out() -> None:
    assert "ablation-no-intra" in {run.name for run in le_uda_ablations(StudyConfig())}
    without = StudyConfig.from_flat({"ensemble.intra-weight": 0.0})
    assert "ablation-no-intra" not in {run.name for run in le_uda_ablations(without)}


def test_every_seed_of_a_budget_draws_other_scans_and_every_row_has_the_same_number(study: Study) -> None:
    (one,) = budget_studies(study, [2]).values()
    jobs = jobs_of(one)
    assert {job.config.source.num_labelled for job in jobs} == {2}
    assert {(job.seed, job.config.source.label_draw) for job in jobs} == {(0, 0), (1, 1)}
    assert {job.config.source.label_draw for job in jobs_of(study)} == {0}


def test_the_ceiling_of_a_budget_is_another_one_for_another_budget(study: Study) -> None:
    def keys(budget: int) -> set[str]:
        (one,) = budget_studies(study, [budget]).values()
        return {job.key for job in jobs_of(one) if job.run == "target-supervised"}

    assert keys(1).isdisjoint(keys(2))
    assert keys(1) == keys(1)


@pytest.mark.parametrize("numbers", [[], [0, 1], [1000]])
def test_a_budget_that_the_source_cannot_give_is_refused(study: Study, numbers: list[int]) -> None:
    with pytest.raises(ConfigError, match="wanted numbers from 1 to"):
        budget_studies(study, numbers)


def test_budgets_are_carried_out_in_turn_and_put_together(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []

    def pretend(one: Study, wanted: Wanted, folder: Path, _console: Console) -> list[object]:
        budget = one.config.source.num_labelled
        asked.append((budget, wanted.with_ablations))
        folder.mkdir(parents=True)
        line = {"dice_mean": 0.1 * budget, "dice_std": None, "gap_closed_mean": None, "num_patients": 1, "seeds": [0]}
        summary = {"le-uda": {**line, "interval": None, "gap_closed_worst": None, "gap_closed_of_means": None}}
        results = {
            "part": "development",
            "seeds": [0],
            "rows": ["le-uda"],
            "summary": summary,
            "comparisons": {"row": "le-uda", "pooled": {}, "targets": {}},
            "missing": [],
            "statistics": {},
        }
        (folder / "results.json").write_text(json.dumps(results))
        return []

    monkeypatch.setattr(budgets, "carry_out_study", pretend)
    where = tmp_path / "results"
    assert carry_out_budgets(study, [2, 1], Wanted(), where, Console(quiet=True), take_apart_at=[2]) == []
    assert asked == [(1, False), (2, True)]
    combined = json.loads((where / "results.json").read_text())
    assert combined["budgets"]["1"]["le-uda"]["dice_mean"] == pytest.approx(0.1)
    assert combined["budgets"]["2"]["le-uda"]["dice_mean"] == pytest.approx(0.2)
    assert "| LE-UDA | 10.0 | 20.0 |" in (where / "table.md").read_text()
    assert (where / "budgets.png").read_bytes().startswith(b"\x89PNG")
