"""Wall time in which at least one site worked, and the tables of the benches."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from simulations.bench import covered, sites_table, transport_table
from simulations.bench_sites import ServerCost, measure_sites
from simulations.bench_transport import KINDS, RoundTrip, measure_transport


def test_sites_that_work_at_the_same_time_count_once() -> None:
    # 0-4 and 2-5 overlap: five seconds; 7-8 alone: one more; 7.2-7.5 is inside.
    assert covered([(2.0, 5.0), (0.0, 4.0), (7.0, 8.0), (7.2, 7.5)]) == 6.0


def test_no_work_is_no_time() -> None:
    assert covered([]) == 0.0


def _shown(table: Table) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_of_sites_says_what_one_site_costs() -> None:
    costs = [
        ServerCost(
            num_sites=num_sites,
            seconds_per_round=0.2 * num_sites,
            cpu_seconds_per_round=0.1 * num_sites,
            peak_bytes=4 * 2**20,
            model_bytes=2 * 2**20,
        )
        for num_sites in (3, 50)
    ]
    lines = [line.replace("│", " ").split() for line in _shown(sites_table(costs)).splitlines()]
    assert ["3", "0.60", "0.30", "100", "4.0", "2.0"] in lines
    assert ["50", "10.00", "5.00", "100", "4.0", "2.0"] in lines


def test_the_table_of_round_trips_gives_ratios() -> None:
    pairs = [
        (
            RoundTrip(
                way="plain",
                has_database=has_database,
                seconds=80.0,
                peak_bytes={"server app": 2_000_000_000, "hub": 1_000_000_000},
            ),
            RoundTrip(
                way="packed",
                has_database=has_database,
                seconds=seconds,
                peak_bytes={"server app": 1_500_000_000, "hub": 500_000_000},
            ),
        )
        for has_database, seconds in ((False, 40.0), (True, 20.0))
    ]
    lines = [line.replace("│", " ").split() for line in _shown(transport_table(pairs)).splitlines()]
    assert ["in", "memory", "plain", "80.0", "2000", "-", "1000", "-"] in lines
    assert ["in", "memory", "ratio", "0.50x", "0.75x", "-", "0.50x", "-"] in lines
    assert ["on", "disk", "ratio", "0.25x", "0.75x", "-", "0.50x", "-"] in lines


@pytest.mark.slow
def test_sites_are_measured_in_a_process_of_their_own() -> None:
    cost = measure_sites(5)
    assert cost.num_sites == 5
    assert cost.cpu_seconds_per_round > 0.0
    assert cost.peak_bytes > cost.model_bytes


@pytest.mark.slow
def test_both_ways_bring_the_right_weights_back_through_real_processes() -> None:
    pairs = measure_transport(num_tensors=6, model_bytes=400_000)
    trips = [trip for pair in pairs for trip in pair]
    ways = [(trip.way, trip.has_database) for trip in trips]
    assert ways == [("plain", False), ("packed", False), ("plain", True), ("packed", True)]
    for trip in trips:
        assert trip.seconds > 0.0
        assert set(trip.peak_bytes) == set(KINDS.values())
