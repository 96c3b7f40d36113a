"""The ladder on a terminal: narrow enough for one, unlike `table.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from diffuse_uda.reporting.rows import row_name


def print_ladder(results: Mapping[str, Any], console: Console) -> None:
    """Print mean Dice of every row at every target, their mean, and the share of the gap it closed.

    Args:
        results: As `study_results.build_study_results` makes them.
        console: Where to.
    """
    seeds = ", ".join(map(str, results["seeds"])) or "none"
    table = Table(title=f"Dice % on the {results['part']} part; seeds {seeds}")
    table.add_column("row")
    for site_id in [*results["targets"], "mean", "gap closed"]:
        table.add_column(site_id, justify="right")
    for row in results["rows"]:
        summary = results["summary"][row]
        shares = [lines.get(row, {}).get("dice") for lines in results["targets"].values()]
        table.add_row(
            row_name(row), *(_percent(share) for share in [*shares, summary["dice_mean"], summary["gap_closed_mean"]])
        )
    console.print(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
