"""What the machinery of a federation costs: memory and time of the server, and a model's way there and back."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from client import tasks
from client.site import Site
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.exchange.run_options import RUN_DIR
from diffuse_uda.reporting.machine import describe_machine
from diffuse_uda.types import StateDict
from simulations.bench_aggregation import measure_aggregation
from simulations.bench_intake import SPEED_TARGET, measure_intake
from simulations.bench_sites import NUM_SITES, ServerCost, measure_sites
from simulations.bench_transport import KINDS, MODEL_BYTES, NUM_TENSORS, RoundTrip, measure_transport
from simulations.bench_transport import MEMORY_TARGET as TRANSPORT_MEMORY_TARGET
from simulations.bench_transport import TIME_TARGET as TRANSPORT_TIME_TARGET
from simulations.centres import check_centres
from simulations.engines.in_process import run_in_process
from simulations.federation import node_config
from simulations.phantom.cohort import write_cohort
from simulations.recipes import DEMO, PHANTOM_SHAPE, PHANTOM_SPACING_MM, working_grid

MEMORY_TARGET = 2.0
TIME_TARGET = 0.05

Interval = tuple[float, float]


def run_bench(console: Console, *, seed: int = 0) -> None:
    """Print all figures with what they were measured on."""
    machine = describe_machine()
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    console.print(f"seed {seed}; {facts}", highlight=False)
    memory = measure_aggregation()
    console.print(f"aggregation: {memory}; wanted at most {MEMORY_TARGET:g} models + one tensor", highlight=False)
    intake = measure_intake(seed=seed)
    console.print(
        f"intake: {intake.num_cases} cases of 64^3 read in {intake.reading_s:.1f} s, checked in "
        f"{intake.checking_s:.1f} s: {100 * intake.relative_speed:.0f} % of the speed of reading; wanted at least "
        f"{100 * SPEED_TARGET:g} %",
        highlight=False,
    )
    wall_s, working_s = measure_machinery(seed=seed)
    share = (wall_s - working_s) / wall_s
    console.print(
        f"machinery: {wall_s - working_s:.2f} s of {wall_s:.1f} s wall are not a site's work: {100 * share:.2f} %; "
        f"wanted at most {100 * TIME_TARGET:g} % (one round a phase, the demo's steps, sizes and sites)",
        highlight=False,
    )
    console.print(sites_table([measure_sites(num_sites, seed=seed) for num_sites in NUM_SITES]))
    console.print(transport_table(measure_transport(seed=seed)))


def sites_table(costs: Sequence[ServerCost]) -> Table:
    """Time and memory of the server by the number of sites."""
    model_mib = costs[0].model_bytes / 2**20
    table = Table(title=f"server, simulated sites, model of {model_mib:.1f} MiB; wanted: time linear, memory flat")
    for name in ("sites", "s a round", "CPU s a round", "CPU ms a round and site", "peak MiB", "peak in models"):
        table.add_column(name, justify="right")
    for cost in costs:
        each_ms = 1000.0 * cost.cpu_seconds_per_round / cost.num_sites
        seconds = (f"{cost.seconds_per_round:.2f}", f"{cost.cpu_seconds_per_round:.2f}")
        memory = (f"{cost.peak_bytes / 2**20:.1f}", f"{cost.peak_bytes / cost.model_bytes:.1f}")
        table.add_row(str(cost.num_sites), *seconds, f"{each_ms:.0f}", *memory)
    return table


def transport_table(pairs: Sequence[tuple[RoundTrip, RoundTrip]]) -> Table:
    """A model's round trip beside plain Flower's, with ratios; a pair is plain, then packed, with hubs of one kind."""
    wanted = f"time {TRANSPORT_TIME_TARGET:g}x, memory {TRANSPORT_MEMORY_TARGET:g}x"
    model = f"{MODEL_BYTES / 1e6:.0f} MB in {NUM_TENSORS} tensors"
    table = Table(title=f"{model} there and back, in MB; wanted at most: {wanted}")
    kinds = list(dict.fromkeys(KINDS.values()))
    for name in ("hub keeps messages", "way", "s", *kinds):
        table.add_column(name, justify="right")
    for plain, packed in pairs:
        place = "on disk" if plain.has_database else "in memory"
        for trip in (plain, packed):
            sizes = [f"{trip.peak_bytes[kind] / 1e6:.0f}" if kind in trip.peak_bytes else "-" for kind in kinds]
            table.add_row(place, trip.way, f"{trip.seconds:.1f}", *sizes)
        ratios = [
            f"{packed.peak_bytes[kind] / plain.peak_bytes[kind]:.2f}x"
            if kind in plain.peak_bytes and kind in packed.peak_bytes
            else "-"
            for kind in kinds
        ]
        table.add_row(place, "ratio", f"{packed.seconds / plain.seconds:.2f}x", *ratios, end_section=True)
    return table


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

    def timed(
        site: Site,
        config: StudyConfig,
        order: WorkOrder,
        weights: StateDict,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> SiteReply:
        began = time.monotonic()
        try:
            return run_task(site, config, order, weights, clock=clock)
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
