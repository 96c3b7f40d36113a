"""What the machinery of a federation costs: memory of aggregation, and wall time beside the sites' own work."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from client import tasks
from client.site import Site
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.exchange.run_options import RUN_DIR
from diffuse_uda.reporting.machine import describe_machine
from diffuse_uda.types import StateDict
from simulations.bench_aggregation import measure_aggregation
from simulations.centres import check_centres
from simulations.engines.in_process import run_in_process
from simulations.federation import node_config
from simulations.phantom.cohort import write_cohort
from simulations.recipes import DEMO, PHANTOM_SHAPE, PHANTOM_SPACING_MM, working_grid

MEMORY_TARGET = 2.0
TIME_TARGET = 0.05

Interval = tuple[float, float]


def run_bench(console: Console, *, seed: int = 0) -> None:
    """Print both figures with what they were measured on."""
    machine = describe_machine()
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    console.print(f"seed {seed}; {facts}", highlight=False)
    memory = measure_aggregation()
    console.print(f"aggregation: {memory}; wanted at most {MEMORY_TARGET:g} models + one tensor", highlight=False)
    wall_s, working_s = measure_machinery(seed=seed)
    share = (wall_s - working_s) / wall_s
    console.print(
        f"machinery: {wall_s - working_s:.2f} s of {wall_s:.1f} s wall are not a site's work: {100 * share:.2f} %; "
        f"wanted at most {100 * TIME_TARGET:g} % (one round a phase, the demo's steps, sizes and sites)",
        highlight=False,
    )


def measure_machinery(*, seed: int) -> tuple[float, float]:
    """Run the demo with one round a phase, in process.

    Rounds cost the machinery the same however often they are repeated, so the share is that of the whole demo.

    Returns:
        Seconds of wall time from the first order to the last checkpoint, and those in which at least one site worked.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        centres = check_centres(
            write_cohort(folder / "cohort", seed=seed, shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM)
        )
        one_round = {f"{phase}.num-rounds": 1 for phase in ("warm-up", "adapt", "diffuse", "refine")}
        config = StudyConfig.from_flat({**DEMO, **working_grid(centres[0].files), **one_round, "seed": seed})
        nodes = [node_config(centre, folder / "run") for centre in centres]
        with timed_tasks() as intervals:
            started = time.monotonic()
            run_in_process(
                {**config.to_flat(), RUN_DIR: str(folder / "run")},
                nodes,
                num_workers=os.cpu_count() or 1,
                on_event=lambda _event: None,
            )
            wall_s = time.monotonic() - started
        return wall_s, covered(intervals)


@contextmanager
def timed_tasks() -> Iterator[list[Interval]]:
    """Note when each site began and ended its work, seconds of the monotonic clock."""
    intervals: list[Interval] = []
    run_task = tasks.run_task

    def timed(site: Site, config: StudyConfig, order: WorkOrder, weights: StateDict) -> SiteReply:
        began = time.monotonic()
        try:
            return run_task(site, config, order, weights)
        finally:
            intervals.append((began, time.monotonic()))

    tasks.run_task = timed
    try:
        yield intervals
    finally:
        tasks.run_task = run_task


def covered(intervals: Sequence[Interval]) -> float:
    """Length of the union of intervals: sites that work at the same time count once."""
    total, end = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, end))
        end = max(end, ended)
    return total
