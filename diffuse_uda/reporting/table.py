"""The main table of a run as Markdown, for places that show no HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffuse_uda.reporting.rows import row_name


def markdown_table(results: Mapping[str, Any]) -> str:
    """Write Dice and HD95 of every target and method, the gap closed, and what the run was.

    Args:
        results: As `results.build_results` makes them.

    Returns:
        Markdown that ends with a newline; an undefined number is a dash.
    """
    rows = results["rows"]
    targets = results["targets"]
    lines = [
        "| method | "
        + " | ".join(f"{site_id}, Dice % / HD95 mm" for site_id in targets)
        + " | mean Dice % | gap closed % |",
        "|---" * (len(targets) + 3) + "|",
    ]
    for row in rows:
        cells = [_cell(table.get(row)) for table in targets.values()]
        summary = results["summary"][row]
        totals = [_percent(summary["dice_mean"]), _percent(summary["gap_closed_mean"])]
        lines.append(f"| {row_name(row)} | " + " | ".join([*cells, *totals]) + " |")
    environment = results["measured"].get("environment", {})
    facts = ", ".join(f"{key} {value}" for key, value in environment.items() if value is not None and key != "command")
    seeds = ", ".join(map(str, results["seeds"]))
    lines += ["", f"`{environment.get('command', '-')}`; seed {seeds}; {facts}"]
    return "\n".join(lines) + "\n"


def _cell(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return "-"
    distance = line["hd95_mm"]
    return f"{_percent(line['dice'])} / {'-' if distance is None else f'{distance:.1f}'}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
