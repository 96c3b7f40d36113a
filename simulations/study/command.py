"""Carrying out a study: what is to do, side by side, with results after every job."""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from diffuse_uda.errors import ConfigError
from simulations.study.board import StudyBoard
from simulations.study.collect import write_figures, write_study
from simulations.study.fingerprint import CHECKOUT
from simulations.study.frozen_code import freeze_code
from simulations.study.job import Job
from simulations.study.ladder_table import print_ladder
from simulations.study.plan import Study, chosen_runs, jobs_of
from simulations.study.processes import launch_here, launch_process
from simulations.study.schedule import run_jobs
from simulations.study.stages import StageStore

LOCK = ".lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which part of a study to carry out now, and how."""

    rows: Sequence[str] = ()
    """Only the runs that give these; none means all."""
    redo: Sequence[str] = ()
    """Rows whose runs begin again, finished or not."""
    with_ablations: bool = False
    workers: int = 1
    """Jobs at a time; 0 carries them out in this process, one after another."""
    keep_stages: bool = False


def carry_out_study(study: Study, wanted: Wanted, results_dir: Path, console: Console) -> list[Job]:
    """Run whatever is not finished, writing results after every job; print the main table.

    Returns:
        The jobs that failed.

    Raises:
        ConfigError: If a row is unknown, or another process is at work on this study.
    """
    redone = chosen_runs(study, wanted.redo, with_ablations=True) if wanted.redo else []
    chosen = redone
    if wanted.rows or not wanted.redo:
        chosen = [*redone, *chosen_runs(study, wanted.rows, with_ablations=wanted.with_ablations)]
    with only_one(study.out):
        code = freeze_code(study.out / "code") if wanted.workers else CHECKOUT
        jobs = jobs_of(study, code=code, from_scratch=redone)
        for job in jobs:
            if job.run in redone:
                job.forget()
        todo = [job for job in jobs if job.run in chosen and not job.marker]
        num_chosen = sum(job.run in chosen for job in jobs)
        console.print(f"{num_chosen - len(todo)} of {num_chosen} jobs are finished already", highlight=False)
        ladder_runs = {run.name for run in study.runs(with_ablations=False)}

        def after_each(_job: Job) -> None:
            write_study(study, jobs, results_dir)
            if not wanted.keep_stages:
                drop_stages(jobs, needed=ladder_runs.union(chosen))

        launch = partial(launch_process, code=code) if wanted.workers else launch_here
        with StudyBoard(console, len(todo), after_each=after_each) as board:
            failed = run_jobs(todo, workers=max(1, wanted.workers), launch=launch, board=board)
        results = write_study(study, jobs, results_dir)
        write_figures(results, results_dir)
    print_ladder(results, console)
    console.print(f"\nopen {results_dir / 'table.md'}", highlight=False, soft_wrap=True)
    for job in failed:
        console.print(f"failed: {job.name}; see {job.log}", style="red", highlight=False, soft_wrap=True)
    return failed


def drop_stages(jobs: Sequence[Job], *, needed: Collection[str]) -> None:
    """Delete the stages of every seed whose needed runs are all finished."""
    for stages_dir in {job.stages_dir for job in jobs}:
        if all(job.marker for job in jobs if job.stages_dir == stages_dir and job.run in needed):
            StageStore(folder=stages_dir).clear()


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second process from working on the same study.

    Raises:
        ConfigError: If there is one already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"another process is at work in {folder}; wait for it, or choose another name or --out"
            raise ConfigError(msg) from error
        yield
