"""The command line of whole federations."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from diffuse_uda.types import Scalar
from simulations.__main__ import app, print_table
from simulations.federation import Federation
from simulations.study.command import Wanted
from simulations.study.plan import Study


@pytest.mark.parametrize(("num_failed", "code"), [(0, 0), (1, 1)])
def test_study_hands_over_what_was_asked_for(
    num_failed: int, code: int, small_cohort: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Study, Wanted, Path]] = []

    def pretend(study: Study, wanted: Wanted, results_dir: Path, _console: Console) -> list[int]:
        seen.append((study, wanted, results_dir))
        return [0] * num_failed

    monkeypatch.setattr("simulations.__main__.carry_out_study", pretend)
    options = ["--target", "target-t2w", "--seeds", "3,4", "--rows", "asc,asc-plus", "--redo", "asc", "--part", "test"]
    places = ["--data", str(small_cohort[0].parent), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["study", "mine", *places, *options, "--set", "adapt.num-rounds=2"])
    assert result.exit_code == code, result.output
    ((study, wanted, results_dir),) = seen
    assert [centre.site_id for centre in study.centres] == ["source-t1w", "target-t2w"]
    assert (study.seeds, study.part, study.out) == ((3, 4), "test", tmp_path / "mine")
    assert (study.config.num_passes, study.config.adapt.num_rounds) == (2, 2)
    assert (wanted.rows, wanted.redo, wanted.with_ablations) == (["asc", "asc-plus"], ["asc"], False)
    assert wanted.workers >= 1
    assert results_dir == Path("results/mine")


def test_the_table_shows_percent_and_millimetres_and_says_when_there_is_nothing() -> None:
    results = {
        "rows": ["source-only", "diffuse-uda"],
        "targets": {
            "leeds": {"source-only": {"dice": 0.5, "hd95_mm": 8.0}, "diffuse-uda": {"dice": 0.75, "hd95_mm": None}}
        },
        "summary": {"source-only": {"dice_mean": 0.5}, "diffuse-uda": {"dice_mean": None}},
    }
    out = io.StringIO()
    print_table(results, Console(file=out, width=100))
    assert "50.0 / 8.0" in out.getvalue()
    assert "75.0 / -" in out.getvalue()


def test_demo_runs_a_federation_on_given_centres_and_prints_where_the_report_is(
    small_cohort: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Federation] = []

    def pretend(federation: Federation, _console: Console) -> dict[str, Any]:
        seen.append(federation)
        return {"rows": [], "targets": {}, "summary": {}}

    monkeypatch.setattr("simulations.__main__.run_federation", pretend)
    arguments = ["demo", "--data", str(small_cohort[0].parent), "--name", "here", "--out", str(tmp_path)]
    # phantom folders are named source-t1w, target-t2w, ...: the roles are in the names
    result = CliRunner().invoke(app, [*arguments, "--set", "adapt.num-rounds=2", "--target", "target-t2w"])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output
    (federation,) = seen
    assert federation.config.adapt.num_rounds == 2
    assert federation.config.grid.patch_size == (16, 16, 16)
    assert [folder.name for folder in federation.centre_folders] == ["source-t1w", "target-t2w"]
    assert federation.run_dir == tmp_path / "here"


def test_without_data_the_demo_makes_its_own_cohort_and_one_pass(
    small_cohort: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Federation] = []

    def pretend(federation: Federation, _console: Console) -> dict[str, Any]:
        seen.append(federation)
        return {"rows": [], "targets": {}, "summary": {}}

    monkeypatch.setattr("simulations.__main__.write_cohort", lambda *_args, **_named: small_cohort)
    monkeypatch.setattr("simulations.__main__.run_federation", pretend)
    assert CliRunner().invoke(app, ["demo", "--out", str(tmp_path)]).exit_code == 0
    assert list(seen[0].centre_folders) == small_cohort
    assert seen[0].config.num_passes == 1


def test_flower_hands_its_overrides_to_the_engine(
    small_cohort: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Scalar]] = []
    monkeypatch.setattr("simulations.__main__.write_cohort", lambda *_args, **_named: small_cohort)
    monkeypatch.setattr(
        "simulations.federation.run_simulation_engine", lambda options, **_named: started.append(options)
    )
    monkeypatch.setattr(
        "simulations.federation.write_outcome", lambda *_args: {"rows": [], "targets": {}, "summary": {}}
    )
    monkeypatch.setattr("simulations.federation.write_federation_page", lambda *_args, **_named: None)
    arguments = ["flower", "--out", str(tmp_path), "--set", "adapt.num-rounds=1", "--seed", "4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert started[0]["adapt.num-rounds"] == 1
    assert started[0]["seed"] == 4
    assert (tmp_path / "flower" / "sites.json").exists()
