"""Jobs side by side: long ones first, and nobody computes what somebody else is about to keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from simulations.study.job import Job
from simulations.study.stages import StageStore

LOOK_S = 0.2
"""Seconds between two looks at the running jobs."""


class Process(Protocol):
    """A job at work."""

    def poll(self) -> int | None:
        """Exit code, or None while it works."""
        ...

    def stop(self) -> None:
        """End it now and wait until it has ended."""
        ...


class Board(Protocol):
    """Whoever shows how far the jobs are."""

    def started(self, job: Job) -> None:
        """A job has begun."""
        ...

    def look(self) -> None:
        """Time has passed."""
        ...

    def ended(self, job: Job, code: int) -> None:
        """A job has ended, well if `code` is 0."""
        ...


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    launch: Callable[[Job], Process],
    board: Board,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Job]:
    """Run jobs, `workers` at a time; one that fails stops no other.

    A job whose next stage a running job will keep waits for that: the stage is computed once.

    Args:
        jobs: In any order; the largest begin first.
        workers: How many at a time, at least 1.
        launch: Starts a job and returns at once.
        board: Is told what happens.
        sleep: Waits; seconds.

    Returns:
        The jobs that failed.
    """
    waiting = sorted(jobs, key=lambda job: (-job.volumes, job.name))
    running: dict[str, tuple[Job, Process]] = {}
    failed = []
    try:
        while waiting or running:
            for job in list(waiting):
                if len(running) < workers and not _has_to_wait(job, [other for other, _ in running.values()]):
                    waiting.remove(job)
                    board.started(job)
                    running[job.name] = job, launch(job)
            for name, (job, process) in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[name]
                    board.ended(job, code)
                    if code != 0:
                        failed.append(job)
            board.look()
            if running:
                sleep(LOOK_S)
    finally:
        for _, process in running.values():
            process.stop()
    return failed


def _has_to_wait(job: Job, running: Sequence[Job]) -> bool:
    """Whether a running job will keep a stage that this one needs and nobody has yet."""
    if job.from_scratch:
        return False
    store = StageStore(folder=job.stages_dir)
    missing = {key for key in job.stages.values() if key not in store}
    return any(not missing.isdisjoint(other.stages.values()) for other in running)
