"""A whole study through its command line, on scans of sixteen voxels: complete, resumable, honest about what failed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client import segmentation_losses, tasks
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.reporting.results import stable_part
from diffuse_uda.training.checkpoints import load_checkpoint
from simulations.__main__ import app
from simulations.centres import check_centres
from simulations.phantom.centres import SOURCE_T1W, TARGET_FLAIR, TARGET_T2W
from simulations.phantom.cohort import write_cohort
from simulations.recipes import STUDY
from simulations.study.fingerprint import IN_PHASES, READ_BY
from simulations.study.plan import Study, jobs_of
from simulations.study.processes import launch_here

Flat = dict[str, bool | int | float | str]

LADDER = [
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


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source and two targets with two training scans each, one for development and one for the test."""
    small = [
        dataclasses.replace(centre, num_train=2, num_test=2, num_development=0 if centre is SOURCE_T1W else 1)
        for centre in (SOURCE_T1W, TARGET_T2W, TARGET_FLAIR)
    ]
    folder = tmp_path_factory.mktemp("cohort") / "centres"
    write_cohort(folder, seed=3, centres=small, shape=(16, 16, 16), spacing_mm=(12.0, 12.0, 12.0))
    return folder


@pytest.fixture(scope="module")
def flat(tiny_config: Flat) -> Flat:
    """As little of everything as there can be."""
    once: Flat = {f"{phase}.num-rounds": 1 for phase in ("warm-up", "adapt", "diffuse", "refine")}
    return {**tiny_config, **once, "warm-up.num-local-steps": 2, "warm-up.random-look-share": 0.5}


def _study(folder: Path, cohort: Path, flat: Flat, *options: str) -> tuple[int, str]:
    overrides = [item for key, value in flat.items() if key != "name" for item in ("--set", f"{key}={_text(value)}")]
    places = ["--data", str(cohort), "--out", str(folder / "runs"), "--results", str(folder / "results")]
    result = CliRunner().invoke(app, ["study", "tiny", *places, "--workers", "0", *options, *overrides])
    return result.exit_code, result.output


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results" / "results.json").read_text()))


def _finished(folder: Path) -> dict[str, int]:
    """When every job ended, by its name."""
    root = folder / "runs" / "tiny" / "seed-0"
    return {file.parent.name: file.stat().st_mtime_ns for file in root.glob("*/finished.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cohort: Path, flat: Flat) -> Path:
    folder = tmp_path_factory.mktemp("study")
    code, output = _study(folder, cohort, flat, "--keep-stages")
    assert code == 0, output
    assert "0 of 9 jobs are finished already" in output
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished study, to be spoilt; its jobs name no absolute place of their own."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def test_the_ladder_is_complete_at_every_target(finished: Path) -> None:
    results = _results(finished)
    assert results["rows"] == LADDER
    assert [sorted(lines) for lines in results["targets"].values()] == [sorted(LADDER)] * 2
    assert results["missing"] == {}
    assert results["repeated"] == {}
    assert results["part"] == "development"
    assert {site["num_test"] for site_id, site in results["sites"].items() if "target" in site_id} == {1}
    assert {path.name for path in (finished / "results").iterdir()} >= {"table.md", "ladder.png", "picture.png"}


def test_the_strong_single_site_row_is_the_step_matched_one(finished: Path) -> None:
    runs = finished / "runs" / "tiny" / "seed-0"
    of_its_own = json.loads((runs / "source-only-random-conv" / "study.json").read_text())
    assert of_its_own["warm_up"]["num_rounds"] == 5  # 2 + 1 * 2 + 1 * 2 + 2 * 1 * 2 = 10 steps, 2 a round
    assert _results(finished)["cost"]["source-only-random-conv"]["rounds"] == 5
    on_the_way = runs / "diffuse-uda" / "sites" / "target-t2w" / "evaluation" / "source-only-random-conv"
    assert on_the_way.is_dir()  # scored there as well, and not the study's


def test_costs_contain_the_phases_that_are_shared(finished: Path) -> None:
    cost = _results(finished)["cost"]
    # warm-up and adapt; pseudo-label, describe, keep-table and recolouring for each of two targets; then labels,
    # diffuse, synthesise and refinement for each of two targets, twice
    rows = ("asc-plus", "recoloured", "diffuse-uda-pass-1", "diffuse-uda")
    assert [cost[row]["rounds"] for row in rows] == [2, 7, 12, 17]
    assert cost["asc"]["to_server_bytes"] == cost["asc-plus"]["to_server_bytes"] > 0
    assert cost["diffuse-uda-centralised"]["to_server_bytes"] == 0
    timing = _results(finished)["measured"]["timing"]["rows"]
    assert all(timing[row]["images_per_second"] > 0 for row in LADDER)


def test_the_oracle_s_price_is_told_apart(finished: Path) -> None:
    oracle = _results(finished)["oracle"]
    assert list(oracle) == ["asc-plus", "recoloured", "diffuse-uda-pass-1", "diffuse-uda"]
    for row, by_site in oracle.items():
        for site_id, choice in by_site.items():
            assert choice["dice"] == pytest.approx(_results(finished)["targets"][site_id][row]["dice"], abs=1e-6)
            assert 1 <= choice["oracle_rounds"]["0"] <= (2 if row == "recoloured" else 1)


def test_a_finished_study_does_nothing_and_says_the_same(finished: Path, cohort: Path, flat: Flat) -> None:
    before, results = _finished(finished), _results(finished)
    code, output = _study(finished, cohort, flat, "--keep-stages")
    assert code == 0
    assert "9 of 9 jobs are finished already" in output
    assert _finished(finished) == before
    assert stable_part(_results(finished)) == stable_part(results)


def test_one_row_is_run_again_alone_from_its_first_round_with_the_same_result(
    copied: Path, cohort: Path, flat: Flat
) -> None:
    before, results = _finished(copied), _results(copied)
    code, output = _study(copied, cohort, flat, "--redo", "asc", "--keep-stages")
    assert code == 0, output
    assert {name for name, when in _finished(copied).items() if when != before.get(name)} == {"asc"}
    assert "goes on after" not in (copied / "runs" / "tiny" / "seed-0" / "asc.log").read_text()
    assert stable_part(_results(copied)) == stable_part(results)


def test_an_interrupted_run_goes_on_at_its_last_phase_bit_by_bit(copied: Path, cohort: Path, flat: Flat) -> None:
    run = copied / "runs" / "tiny" / "seed-0" / "diffuse-uda"
    whole, results = load_checkpoint(run / "segmenter")[0], _results(copied)
    phases = [json.loads(line)["phase"] for line in (run / "history.jsonl").read_text().splitlines()]
    (run / "finished.json").unlink()
    job = next(job for job in _jobs(copied, cohort, flat) if job.run == "diffuse-uda")
    labels = list(job.stages)
    for label in labels[labels.index("synthesise") + 1 :]:
        shutil.rmtree(job.stages_dir / job.stages[label])
    code, output = _study(copied, cohort, flat, "--rows", "diffuse-uda")
    assert code == 0, output
    assert "goes on after synthesise" in run.with_name("diffuse-uda.log").read_text()
    again = load_checkpoint(run / "segmenter")[0]
    assert all(whole[name].equal(again[name]) for name in whole)
    assert [json.loads(line)["phase"] for line in (run / "history.jsonl").read_text().splitlines()] == phases
    assert stable_part(_results(copied)) == stable_part(results)
    # Everything is done now, and nobody asked to keep them.
    assert not job.stages_dir.exists()


def _jobs(folder: Path, cohort: Path, flat: Flat) -> list[Any]:
    study = Study(
        name="tiny",
        config=StudyConfig.from_flat({**STUDY, **flat}),
        centres=tuple(check_centres(sorted(cohort.glob("[st]*")))),
        seeds=(0,),
        part="development",
        out=folder / "runs" / "tiny",
        command="test",
    )
    return jobs_of(study)


def test_a_failed_job_stops_no_other_and_is_named(
    tmp_path: Path, cohort: Path, flat: Flat, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tasks.run_task

    def failing(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        if config.warm_up.random_look_share > 0:
            raise RuntimeError
        return work(site, config, order, weights)

    monkeypatch.setattr(tasks, "run_task", failing)
    code, output = _study(tmp_path, cohort, flat, "--rows", "source-only-random-conv,source-only")
    assert code == 1
    assert "failed: seed-0/source-only-random-conv; see" in output
    results = _results(tmp_path)
    assert results["rows"] == ["source-only"]
    assert "asc" in results["missing"]


class _Watched:
    """A configuration that notes which sections a task reads."""

    def __init__(self, config: StudyConfig, seen: set[str]) -> None:
        self._config = config
        self._seen = seen

    def __getattr__(self, name: str) -> object:
        if name in StudyConfig.model_fields:
            self._seen.add(name)
        return getattr(self._config, name)


@pytest.fixture
def sections_read(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    read: dict[str, set[str]] = {}
    work = tasks.run_task
    # A method is declared from the whole configuration; of that, the tasks read the variant, which stages name.
    monkeypatch.setattr(segmentation_losses, "build_method", lambda watched: build_method(watched._config))

    def watched(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        return work(site, _Watched(config, read.setdefault(order.phase, set())), order, weights)  # type: ignore[arg-type]

    monkeypatch.setattr(tasks, "run_task", watched)
    return read


@pytest.mark.parametrize("run", ["shipped-and-adapted", "diffuse-uda"])
def test_no_phase_reads_a_section_that_its_stage_does_not_name(
    run: str, sections_read: dict[str, set[str]], tmp_path: Path, cohort: Path, flat: Flat
) -> None:
    plain = {**flat, "style.provider": "synthetic"}
    job = next(job for job in _jobs(tmp_path, cohort, plain) if job.run == run)
    assert launch_here(dataclasses.replace(job, scores_rounds=False)).code == 0, job.log.read_text()
    done: set[PhaseName] = set()
    for label, read in sections_read.items():
        done.add(next(name for name in sorted(PhaseName, key=len, reverse=True) if label.startswith(name.value)))
        named = {section for section in READ_BY if not done.isdisjoint(READ_BY[section])}
        assert read - IN_PHASES <= named | (StudyConfig.model_fields.keys() - READ_BY.keys()), label
