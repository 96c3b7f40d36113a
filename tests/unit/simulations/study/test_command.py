"""Which jobs a study carries out now, and who may."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from simulations.centres import Centre
from simulations.study import command
from simulations.study.command import Wanted, carry_out_study, drop_stages, only_one
from simulations.study.job import Job
from simulations.study.plan import Study, chosen_runs, jobs_of
from simulations.study.processes import Done


@pytest.fixture
def study(centres: tuple[Centre, ...], tmp_path: Path) -> Study:
    return Study(
        name="small",
        config=StudyConfig(num_passes=2),
        centres=centres,
        seeds=(0, 1),
        part="development",
        out=tmp_path / "runs",
        command="test",
    )


def _finish(job: Job) -> None:
    job.run_dir.mkdir(parents=True, exist_ok=True)
    job.finish({"seconds": 1.0, "environment": {}})


def test_every_run_has_a_job_for_every_seed_and_one_for_every_target_where_targets_are_alone(study: Study) -> None:
    jobs = jobs_of(study)
    assert len({job.name for job in jobs}) == len(jobs)
    of_first = [job for job in jobs if job.seed == 0]
    assert len(of_first) * 2 == len(jobs)
    supervised = [job for job in of_first if job.run == "target-supervised"]
    assert [[folder.name for folder in job.folders] for job in supervised] == [
        ["source-t1w", "target-t2w"],
        ["source-t1w", "target-flair"],
    ]
    assert {job.config.compute.num_threads for job in jobs} == {1}
    assert all(job.config.seed == job.seed for job in jobs)


def test_a_job_s_key_follows_seed_data_and_configuration_not_the_part_that_is_reported(study: Study) -> None:
    def keys(changed: Study) -> dict[str, str]:
        return {job.name: job.key for job in jobs_of(changed)}

    before = keys(study)
    assert len(set(before.values())) == len(before)
    assert keys(study) == before
    assert keys(dataclasses.replace(study, part="test")) == before
    narrow = StudyConfig.from_flat({"num-passes": 2, "diffuse.deform": False})
    changed = keys(dataclasses.replace(study, config=narrow))
    same = {name for name in before if changed.get(name) == before[name]}
    assert {"seed-0/asc", "seed-1/source-only", "seed-0/target-supervised-target-t2w"} <= same
    assert "seed-0/diffuse-uda" not in same
    assert "seed-0/diffuse-uda-centralised" not in same


def test_rows_name_runs(study: Study) -> None:
    assert chosen_runs(study, ["asc-plus", "diffuse-uda", "asc"], with_ablations=False) == ["diffuse-uda", "asc"]
    assert chosen_runs(study, ["asc-plus--no-cut-mix"], with_ablations=False) == ["ablation-no-cut-mix"]
    assert len(chosen_runs(study, [], with_ablations=False)) == 8
    assert "ablation-ddpm" in chosen_runs(study, [], with_ablations=True)
    with pytest.raises(ConfigError, match=r"no run gives the rows \['ascc'\]; this study has \['asc', "):
        chosen_runs(study, ["ascc"], with_ablations=False)


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        (Wanted(rows=["asc", "source-only"], workers=0), {"source-only"}),
        (Wanted(redo=["asc"], workers=0), {"asc"}),
        (Wanted(rows=["source-only"], redo=["asc"], workers=0), {"asc", "source-only"}),
    ],
)
def test_only_what_is_wanted_and_not_finished_is_run(
    wanted: Wanted, runs: set[str], study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out: list[Job] = []

    def pretend(job: Job) -> Done:
        carried_out.append(job)
        return Done(code=2)

    monkeypatch.setattr(command, "launch_here", pretend)
    monkeypatch.setattr(command, "write_study", lambda *_args: {})
    monkeypatch.setattr(command, "write_figures", lambda *_args: None)
    monkeypatch.setattr(command, "print_ladder", lambda *_args: None)
    for job in jobs_of(study):
        if job.run == "asc":
            _finish(job)
    failed = carry_out_study(study, wanted, tmp_path / "results", Console(quiet=True))
    assert {job.run for job in carried_out} == runs
    assert failed == carried_out
    assert {job.from_scratch for job in carried_out if job.run == "asc"} <= {True}
    assert {job.from_scratch for job in carried_out if job.run != "asc"} <= {False}


def test_stages_go_seed_by_seed_once_all_that_needs_them_is_done(study: Study) -> None:
    jobs = jobs_of(study)
    for job in jobs:
        job.stages_dir.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        if job.seed == 0 and job.run in {"asc", "source-only"}:
            _finish(job)
    drop_stages(jobs, needed={"asc", "diffuse-uda"})
    assert study.stages_dir(0).exists()
    drop_stages(jobs, needed={"asc", "source-only"})
    assert not study.stages_dir(0).exists()
    assert study.stages_dir(1).exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(ConfigError, match="another process is at work"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass
