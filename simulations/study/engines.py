"""How the runs of a study are carried out: federated, centralised, or a target on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from client.site import open_site
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.exchange.run_options import RUN_DIR, START_FROM
from diffuse_uda.methods import build_method
from diffuse_uda.types import Scalar, SiteRole
from simulations.centralised import run_centralised
from simulations.centres import Centre, check_centres
from simulations.engines.in_process import run_in_process
from simulations.federation import (
    RUN_MARKER,
    fit_references,
    label_names_of,
    node_config,
    prepare_run_dir,
    spelt,
)
from simulations.progress import LiveProgress
from simulations.study.job import Job
from simulations.study.keeper import StageKeeper
from simulations.study.ladder import Engine
from simulations.study.oracle import phases_of_rows, round_scores
from simulations.study.stages import ROUNDS, StageStore


def run_engine(job: Job, console: Console) -> dict[str, Any]:
    """Carry out a job up to its scores.

    Returns:
        What the job's marker shall say beside its key: JSON values.
    """
    centres = check_centres(job.folders)
    prepare_run_dir(job.run_dir, [centre.folder for centre in centres], is_fresh=True)  # stages are where jobs go on
    with replaced_atomically(job.run_dir / RUN_MARKER) as draft:
        draft.write_text(spelt(job.config), encoding="utf-8")
    return _ENGINES[job.engine](job, centres, console)


def _federated(job: Job, centres: Sequence[Centre], console: Console) -> dict[str, Any]:
    config = job.config
    phases = phases_of_rows(build_method(config, num_targets=len(centres) - 1))
    store = StageStore(folder=job.stages_dir)
    start = None if job.from_scratch else store.last_known(list(job.stages.values()))
    options: dict[str, Scalar] = {RUN_DIR: str(job.run_dir)}
    if start is not None:
        options[START_FROM] = str(store.server_part(start))
        phase = next(label for label, key in job.stages.items() if key == start)
        console.print(f"goes on after {phase}, which an earlier run has left", markup=False, highlight=False)
    nodes = [_node_config(centre, job) for centre in centres]
    with LiveProgress(console) as progress:
        keeper = StageKeeper(
            run_dir=job.run_dir,
            store=store,
            stages=job.stages,
            start=start,
            scored_phases=frozenset(phase.label for of_row in phases.values() for phase in of_row),
            tell=progress,
        )
        run_in_process({**config.to_flat(), **options}, nodes, num_workers=1, on_event=keeper)
    if not job.scores_rounds:
        return {}
    console.print("scoring kept rounds, to know what choosing by the labels would have brought", highlight=False)
    of_study = {row: phase for row, phase in phases.items() if row in job.rows}
    sites = [open_site(node) for node in nodes]
    return {"rounds": round_scores(config, of_study, job.run_dir / ROUNDS, sites, label_names_of(centres))}


def _target_supervised(job: Job, centres: Sequence[Centre], console: Console) -> dict[str, Any]:
    target = next(centre for centre in centres if centre.role is SiteRole.TARGET)
    console.print(f"reference: {target.site_id} with labels nobody else may read", markup=False, highlight=False)
    site = open_site(_node_config(target, job))
    fit_references([site], job.config, centres, label_names_of(centres), num_workers=1)
    return {}


def _centralised(job: Job, centres: Sequence[Centre], console: Console) -> dict[str, Any]:
    sites = [open_site(_node_config(centre, job)) for centre in centres]
    with LiveProgress(console) as progress:
        run_centralised(job.config, sites, job.run_dir, has_paired_looks=job.has_paired_looks, on_event=progress)
    return {}


def _node_config(centre: Centre, job: Job) -> dict[str, Scalar]:
    """Every labelled held-out scan is scored; which part is reported is decided when results are collected."""
    return node_config(centre, job.run_dir)


_ENGINES: dict[Engine, Callable[[Job, Sequence[Centre], Console], dict[str, Any]]] = {
    Engine.FEDERATED: _federated,
    Engine.CENTRALISED: _centralised,
    Engine.TARGET_SUPERVISED: _target_supervised,
}
