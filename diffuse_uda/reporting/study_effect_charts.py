"""Pictures of a study's effects: the share of the gap that was closed, and what every ablation changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from diffuse_uda.reporting.axes import FAINT_INK, INK, dress_axes, explain_marks, name_numbers, name_rows
from diffuse_uda.reporting.canvas import chart_png_bytes, light_figure, plain_text
from diffuse_uda.reporting.palette import SITE_COLOURS, SITE_MARKERS, row_colour
from diffuse_uda.reporting.rows import CEILING, FLOOR, change_name, is_ablation, is_centralised, row_name
from diffuse_uda.reporting.study_words import level_text, percent, points

AIMS = (0.85, 1.0)
"""Shares of the gap: the aim of the study, and the ceiling."""


def render_gap_closed(results: Mapping[str, Any]) -> bytes:
    """Draw the share of the gap that every row closed: bars for the mean, marks for the targets.

    Args:
        results: As `study_results.build_study_results` makes them.

    Returns:
        A PNG.

    Raises:
        ValueError: If no target has a defined gap.
    """
    summary = results["summary"]
    rows = [
        row
        for row in results["rows"]
        if row not in {FLOOR, CEILING} and not is_ablation(row) and summary[row]["gap_closed_mean"] is not None
    ]
    if not rows:
        msg = "no row has a share of the gap: there is nothing to draw; leave the figure out"
        raise ValueError(msg)
    figure = light_figure(8.5, 1.4 + 0.34 * len(rows))
    axes = figure.subplots()
    for height, row in enumerate(rows):
        axes.barh(
            height,
            100 * summary[row]["gap_closed_mean"],
            height=0.66,
            facecolor="white" if is_centralised(row) else row_colour(row),
            edgecolor=row_colour(row),
            hatch="////" if is_centralised(row) else None,
            zorder=2,
        )
    for index, (site_id, table) in enumerate(results["targets"].items()):
        shares = [
            (100 * table[row]["gap_closed"], height)
            for height, row in enumerate(rows)
            if row in table and table[row]["gap_closed"] is not None
        ]
        axes.plot(
            [share for share, _ in shares],
            [height for _, height in shares],
            SITE_MARKERS[index % len(SITE_MARKERS)],
            label=plain_text(site_id),
            markersize=6.5,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=1.2,
            zorder=4,
        )
    for aim in AIMS:
        axes.axvline(100 * aim, color=INK, linewidth=1.1, linestyle="-" if aim == 1.0 else (0, (4, 3)), zorder=3)
    axes.axvline(0, color=INK, linewidth=1.1, zorder=3)
    dress_axes(axes, title="Share of the gap to target-supervised that was closed")
    name_numbers(axes, "gap closed %")
    name_rows(axes, [f"{row_name(row)}  {percent(summary[row]['gap_closed_mean'])}" for row in rows])
    axes.set_xticks(sorted({*axes.get_xticks(), *(100 * aim for aim in AIMS)} - {80.0}))
    figure.legend(loc="outside lower center", ncols=min(4, len(results["targets"])), frameon=False, fontsize=9)
    return chart_png_bytes(figure)


def render_ablations(results: Mapping[str, Any]) -> bytes:
    """Draw what every ablation changed against its base row, with its interval: a forest plot.

    Args:
        results: As `study_results.build_study_results` makes them.

    Returns:
        A PNG.

    Raises:
        ValueError: If there is no ablation with patients in common with its base row.
    """
    lines = [
        (f"{row_name(base)}, {change_name(row)}", comparison)
        for base, family in results["ablations"].items()
        for row, comparison in family["pooled"].items()
        if comparison["difference"] is not None
    ]
    if not lines:
        msg = "no ablation shares a patient with its base row: there is nothing to draw; leave the figure out"
        raise ValueError(msg)
    figure = light_figure(8.5, 1.2 + 0.34 * len(lines))
    axes = figure.subplots()
    for height, (_, comparison) in enumerate(lines):
        _draw_difference(axes, comparison, height)
    axes.axvline(0, color=INK, linewidth=1.1, zorder=1)
    dress_axes(axes, title="Change of the mean Dice by every ablation")
    name_numbers(axes, "changed - unchanged, Dice points")
    name_rows(axes, [name for name, _ in lines])
    axes.margins(x=0.12)
    explain_marks(figure, f"Bar: {level_text(results)} interval over patients; left of the line: the change did harm")
    return chart_png_bytes(figure)


def _draw_difference(axes: Axes, comparison: Mapping[str, Any], height: int) -> None:
    colour = SITE_COLOURS[0] if comparison["difference"] >= 0 else SITE_COLOURS[1]
    if comparison["interval"] is not None:
        axes.plot(
            [100 * bound for bound in comparison["interval"]], [height, height], color=colour, linewidth=2.2, zorder=2
        )
    axes.plot([100 * comparison["difference"]], [height], "s", color=colour, markersize=7, zorder=3)
    axes.text(
        1.01,
        height,
        points(comparison["difference"]),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=8,
        color=FAINT_INK,
    )
