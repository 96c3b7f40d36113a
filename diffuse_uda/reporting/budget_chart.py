"""The budget curve: mean Dice of every method over the number of labelled source scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffuse_uda.reporting.axes import INK, dress_axes, explain_marks, name_numbers
from diffuse_uda.reporting.canvas import chart_png_bytes, light_figure, plain_text
from diffuse_uda.reporting.palette import row_colour, row_marker
from diffuse_uda.reporting.rows import CEILING, FLOOR, row_name


def render_budgets(results: Mapping[str, Any]) -> bytes:
    """Draw a line for every method, with the standard deviation over the draws.

    Args:
        results: As `budget_results.combine_budgets` makes them.

    Returns:
        A PNG.

    Raises:
        ValueError: If no row has a score.
    """
    lines = {row: _points(results, row) for row in results["rows"]}
    if not any(lines.values()):
        msg = "no row has a score at any budget: there is nothing to draw; leave the figure out"
        raise ValueError(msg)
    figure = light_figure(10.0, 4.6)
    axes = figure.subplots()
    for row, found in lines.items():
        if not found:
            continue
        budgets, means, spreads = zip(*found, strict=True)
        axes.errorbar(
            budgets,
            means,
            yerr=spreads,
            label=plain_text(row_name(row)),
            color=row_colour(row),
            marker=row_marker(row),
            markersize=6.5,
            linewidth=2.6 if row == results["headline"] else 1.4,
            linestyle="--" if row in {FLOOR, CEILING} else "-",
            capsize=2.5,
        )
    axes.set_xscale("log", base=2)
    ticks = sorted(int(budget) for budget in results["budgets"])
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    dress_axes(axes, title="Mean Dice of the targets by number of labelled source scans")
    name_numbers(axes, "labelled source scans")
    axes.set_ylabel("Dice %", color=INK, fontsize=9)
    figure.legend(loc="outside right center", frameon=False, reverse=True, fontsize=8.5)
    explain_marks(figure, "Bars: standard deviation over seeds, each of which is a draw of the labelled scans")
    return chart_png_bytes(figure)


def _points(results: Mapping[str, Any], row: str) -> list[tuple[int, float, float]]:
    found = []
    for budget, summaries in results["budgets"].items():
        summary = summaries.get(row)
        if summary is not None and summary["dice_mean"] is not None:
            found.append((int(budget), 100 * summary["dice_mean"], 100 * (summary["dice_std"] or 0.0)))
    return found
