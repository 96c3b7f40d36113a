"""What every row of a study cost: bytes and rounds, which equal runs share, and time, which they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffuse_uda.reporting.history_view import RoundRecord
from diffuse_uda.reporting.rows import row_order
from diffuse_uda.reporting.scores import mean_defined, rounded

_EVALUATION = "evaluate-"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCost:
    """What it took to get a row, from the first round on."""

    to_sites_bytes: int = 0
    to_server_bytes: int = 0
    rounds: int = 0
    """Rounds of work, without those that only scored."""
    seconds: float | None = None
    """Wall time."""
    images_per_second: float | None = None
    """Images the training saw in a second of wall time."""


SeedCosts = Sequence[tuple[int, Mapping[str, RowCost]]]
"""Costs by row of every run, with the run's seed."""


def costs_by_row(history: Sequence[RoundRecord]) -> dict[str, RowCost]:
    """Add up what each evaluated row had cost when it was scored.

    A row contains every phase before its evaluation, hence the rows before it: Diffuse-UDA contains the price of ASC+.
    Evaluation is no part of a method and costs nothing here.

    Args:
        history: Rounds of one run, oldest first.

    Returns:
        Costs by row, without `images_per_second`, which a history does not hold.
    """
    costs: dict[str, RowCost] = {}
    to_sites = to_server = rounds = 0
    seconds = 0.0
    for record in history:
        if record.phase.startswith(_EVALUATION):
            row = record.phase.removeprefix(_EVALUATION)
            cost = RowCost(to_sites_bytes=to_sites, to_server_bytes=to_server, rounds=rounds, seconds=seconds)
            costs.setdefault(row, cost)
            continue
        to_sites += sum(site.to_site_bytes for site in record.sites.values())
        to_server += sum(site.to_server_bytes for site in record.sites.values())
        rounds += 1
        seconds += record.seconds
    return costs


def cost_entries(costs: SeedCosts) -> dict[str, Any]:
    """Average over the seeds what equal runs share.

    Returns:
        By row `to_sites_bytes`, `to_server_bytes`, `rounds` and `num_seeds`.
    """
    return {
        row: {
            "to_sites_bytes": _whole_mean([cost.to_sites_bytes for cost in of_row]),
            "to_server_bytes": _whole_mean([cost.to_server_bytes for cost in of_row]),
            "rounds": _whole_mean([cost.rounds for cost in of_row]),
            "num_seeds": len(of_row),
        }
        for row, of_row in _by_row(costs).items()
    }


def timing_entries(costs: SeedCosts) -> dict[str, Any]:
    """Average over the seeds what no two runs share: `seconds` and `images_per_second` by row; None if not measured."""
    return {
        row: {
            "seconds": rounded(mean_defined(cost.seconds for cost in of_row)),
            "images_per_second": rounded(mean_defined(cost.images_per_second for cost in of_row)),
        }
        for row, of_row in _by_row(costs).items()
    }


def total_exchange(costs: SeedCosts) -> dict[str, int]:
    """Add up what all runs exchanged: a run's most expensive row contains its others."""
    return {
        key: sum(max((getattr(cost, key) for cost in of_run.values()), default=0) for _, of_run in costs)
        for key in ("to_sites_bytes", "to_server_bytes")
    }


def _by_row(costs: SeedCosts) -> dict[str, list[RowCost]]:
    """Sort into rows; of a row and a seed that several runs hold, the first counts, as for scores."""
    found: dict[str, dict[int, RowCost]] = {}
    for seed, of_run in costs:
        for row, cost in of_run.items():
            found.setdefault(row, {}).setdefault(seed, cost)
    return {row: list(found[row].values()) for row in row_order(found)}


def _whole_mean(values: Sequence[int]) -> int:
    return round(sum(values) / len(values))
