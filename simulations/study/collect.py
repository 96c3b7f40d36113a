"""From finished jobs to the study's results: scores, costs, tables, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from client.site import open_site
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.formats.nnunet import evaluation_cases
from diffuse_uda.reporting.history_view import read_history
from diffuse_uda.reporting.machine import describe_machine
from diffuse_uda.reporting.results import Results, write_results
from diffuse_uda.reporting.scores import SiteScores
from diffuse_uda.reporting.study_charts import render_ladder, render_structures
from diffuse_uda.reporting.study_cost import RowCost, costs_by_row
from diffuse_uda.reporting.study_effect_charts import render_ablations, render_gap_closed
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import StudyRun
from diffuse_uda.reporting.study_table import study_markdown
from diffuse_uda.types import SiteRole
from simulations.centralised import SUFFIX
from simulations.centres import Centre
from simulations.federation import label_names_of, node_config
from simulations.outcome import site_scores
from simulations.study.job import Job
from simulations.study.ladder import Engine
from simulations.study.oracle import oracle_choice
from simulations.study.picture import PICTURE, write_study_picture
from simulations.study.plan import Study
from simulations.study.workload import images_by_row, supervised_volumes

FIGURES: Mapping[str, Callable[[Results], bytes]] = {
    "ladder.png": render_ladder,
    "structures.png": render_structures,
    "gap-closed.png": render_gap_closed,
    "ablations.png": render_ablations,
}


def write_study(study: Study, jobs: Sequence[Job], folder: Path) -> Results:
    """Write `results.json` and `table.md` from whatever is finished.

    Args:
        study: What was planned.
        jobs: All its jobs; those that are not finished are missing in the results, and said to be.
        folder: Made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = build_study_results(
        study_runs(study, jobs),
        part=study.part,
        rows=[row for run in study.runs(with_ablations=False) for row in run.rows.values()],
        seeds=study.seeds,
        headline=study.headline,
        environment={**describe_machine(), "command": study.command},
    )
    write_results(folder / "results.json", results)
    with replaced_atomically(folder / "table.md") as draft:
        draft.write_text(study_markdown(results), encoding="utf-8")
    reported = {centre.site_id: _reported(study, centre) for centre in study.centres}
    write_study_picture(folder / PICTURE, study.centres, jobs, reported)
    return results


def write_figures(results: Results, folder: Path) -> None:
    """Draw whatever there is to draw; a figure without numbers is left out."""
    for name, render in FIGURES.items():
        try:
            picture = render(results)
        except ValueError:
            (folder / name).unlink(missing_ok=True)
            continue
        with replaced_atomically(folder / name) as draft:
            draft.write_bytes(picture)


def study_runs(study: Study, jobs: Sequence[Job]) -> list[StudyRun]:
    """Read what is finished; a run of several jobs counts once all of them are."""
    groups: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.seed, job.run), []).append(job)
    return [
        _study_run(study, group, markers) for group in groups.values() if all(markers := [job.marker for job in group])
    ]


def _study_run(study: Study, jobs: Sequence[Job], markers: Sequence[Mapping[str, Any]]) -> StudyRun:
    costs: dict[str, RowCost] = {}
    for job, marker in zip(jobs, markers, strict=True):
        for row, cost in _costs(study, job, marker).items():
            costs[row] = _sum(costs[row], cost) if row in costs else cost
    rounds = markers[0].get("rounds", {})
    reported = {centre.site_id: _reported(study, centre) for centre in study.centres}
    return StudyRun(
        seed=jobs[0].seed,
        sites=[site for job in jobs for site in _sites(study, job)],
        costs=costs,
        oracle={
            jobs[0].rows[row]: {
                site_id: choice
                for site_id, scores in by_site.items()
                if (choice := oracle_choice(scores, reported[site_id])) is not None
            }
            for row, by_site in rounds.items()
        },
        environment=markers[0]["environment"],
    )


def _sites(study: Study, job: Job) -> Iterable[SiteScores]:
    taking_part = {folder.name for folder in job.folders}
    for centre in study.centres:
        if centre.site_id not in taking_part or (job.one_target and centre.role is SiteRole.SOURCE):
            continue
        scores = site_scores(centre, open_site(node_config(centre, job.run_dir)), label_names_of(study.centres))
        reported = _reported(study, centre)
        rows = {
            job.rows[row]: [case for case in cases if case.case_id in reported]
            for row, cases in scores.rows.items()
            if row in job.rows
        }
        yield replace(scores, num_test=len(reported), rows=rows)


def _reported(study: Study, centre: Centre) -> frozenset[str]:
    """Scans of the part that this report is about; the source's held-out scans choose nothing and are always told."""
    part = study.part if centre.role is SiteRole.TARGET else "all"
    return frozenset(case.case_id for case in evaluation_cases(centre.files, part))


def _costs(study: Study, job: Job, marker: Mapping[str, Any]) -> dict[str, RowCost]:
    if job.engine is Engine.TARGET_SUPERVISED:
        seconds = float(marker["seconds"])
        cost = RowCost(seconds=seconds, images_per_second=supervised_volumes(job.config) / seconds if seconds else None)
        return dict.fromkeys(job.rows.values(), cost)
    history = read_history(job.run_dir / "history.jsonl")
    roles = {centre.site_id: centre.role for centre in study.centres}
    images = images_by_row(job.config, history, roles)
    # Phases are named as in a federation; the files of a centralised run are not, so that nobody confuses them.
    suffix = SUFFIX if job.engine is Engine.CENTRALISED else ""
    return {
        job.rows[f"{row}{suffix}"]: replace(
            cost, images_per_second=images[row] / cost.seconds if cost.seconds else None
        )
        for row, cost in costs_by_row(history).items()
        if f"{row}{suffix}" in job.rows
    }


def _sum(one: RowCost, other: RowCost) -> RowCost:
    """Price of two federations that give one row together."""
    seconds = (one.seconds or 0.0) + (other.seconds or 0.0)
    images = sum((cost.images_per_second or 0.0) * (cost.seconds or 0.0) for cost in (one, other))
    return RowCost(
        to_sites_bytes=one.to_sites_bytes + other.to_sites_bytes,
        to_server_bytes=one.to_server_bytes + other.to_server_bytes,
        rounds=one.rounds + other.rounds,
        seconds=seconds,
        images_per_second=images / seconds if images and seconds else None,
    )
