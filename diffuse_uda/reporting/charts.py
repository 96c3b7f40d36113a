"""Charts of a run: losses over the rounds, and where every method stands at every target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from diffuse_uda.reporting.axes import GRID, INK, dress_axes
from diffuse_uda.reporting.canvas import light_figure, plain_text, svg_bytes
from diffuse_uda.reporting.history_view import Curve
from diffuse_uda.reporting.palette import SITE_COLOURS, SITE_MARKERS, row_colour, row_marker
from diffuse_uda.reporting.rows import row_name

_MOST_COLUMNS = 4


def render_curves(curves: Mapping[str, Mapping[str, Curve]], site_ids: Sequence[str]) -> bytes:
    """Draw the loss of every site over the rounds, a panel for every phase.

    Losses of two phases are different things, so each panel has its own scale.

    Args:
        curves: As `history_view.loss_curves` collects them.
        site_ids: Sites in the order that fixes their colours.

    Returns:
        An SVG.

    Raises:
        ValueError: If there is no curve.
    """
    if not curves:
        msg = "the history holds no losses: there is no curve to draw; leave the figure out"
        raise ValueError(msg)
    num_columns = len(curves) if len(curves) <= _MOST_COLUMNS else 3
    num_lines = math.ceil(len(curves) / num_columns)
    figure = light_figure(max(9.0, 3.2 * num_columns), 2.5 * num_lines + 0.5)
    grid = figure.subplots(num_lines, num_columns, squeeze=False).ravel()
    places = {site_id: index for index, site_id in enumerate(dict.fromkeys([*site_ids, *_sites_of(curves)]))}
    handles: dict[str, Line2D] = {}
    for axes, (phase, by_site) in zip(grid, curves.items(), strict=False):
        for site_id, curve in by_site.items():
            handles[site_id] = _draw_curve(axes, curve, place=places[site_id])
        dress_axes(axes, title=phase)
        axes.set_xlabel("round", color=INK, fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    grid[0].set_ylabel("loss", color=INK, fontsize=8)
    shown = sorted(handles, key=lambda site_id: places[site_id])
    figure.legend(
        [handles[site_id] for site_id in shown],
        [plain_text(site_id) for site_id in shown],
        loc="outside lower center",
        ncols=max(1, min(5, len(shown))),
        frameon=False,
        fontsize=8,
    )
    return svg_bytes(figure)


def _sites_of(curves: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    return sorted({site_id for by_site in curves.values() for site_id in by_site})


def _draw_curve(axes: Axes, curve: Curve, *, place: int) -> Line2D:
    rounds, losses = zip(*curve, strict=True)
    (line,) = axes.plot(
        rounds,
        losses,
        color=SITE_COLOURS[place % len(SITE_COLOURS)],
        marker=SITE_MARKERS[place % len(SITE_MARKERS)],
        markersize=4,
        linewidth=1.4,
    )
    return line


def render_dice_chart(targets: Mapping[str, Mapping[str, Mapping[str, Any]]], rows: Sequence[str]) -> bytes:
    """Draw the mean Dice of every method at every target as dots on a line: floor, methods, ceiling.

    Small dots are single cases.

    Args:
        targets: `targets` of the results.
        rows: Method rows in reading order.

    Returns:
        An SVG.

    Raises:
        ValueError: If no target has a score.
    """
    scored = {
        site_id: table for site_id, table in targets.items() if any(row["dice"] is not None for row in table.values())
    }
    if not scored:
        msg = "no target has a score: there is nothing to draw; leave the figure out"
        raise ValueError(msg)
    figure = light_figure(9.0, 0.75 + 0.17 * len(rows) * len(scored) + 0.35 * len(scored))
    axes = figure.subplots()
    step = 0.8 / max(1, len(rows))
    for place, table in enumerate(scored.values()):
        for line, row in enumerate(row for row in rows if row in table):
            _draw_dot(axes, table[row], row, height=place - 0.4 + step * (line + 0.5))
    dress_axes(axes, title="Dice at every target (large: mean, small: single scans)")
    axes.set_yticks(range(len(scored)), [plain_text(site_id) for site_id in scored])
    axes.set_ylim(len(scored) - 0.5, -0.5)
    axes.set_xlim(0.0, 1.0)
    axes.grid(visible=False, axis="y")
    for border in range(1, len(scored)):
        axes.axhline(border - 0.5, color=GRID, linewidth=0.7)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=len(unique), frameon=False, fontsize=8
    )
    return svg_bytes(figure)


def _draw_dot(axes: Axes, line: Mapping[str, Any], row: str, *, height: float) -> None:
    if line["dice"] is None:
        return
    colour = row_colour(row)
    single = [case["dice"] for case in line["cases"] if case["dice"] is not None]
    axes.plot(single, [height] * len(single), "o", color=colour, alpha=0.3, markersize=3, markeredgewidth=0)
    axes.plot(
        [line["dice"]],
        [height],
        row_marker(row),
        color=colour,
        markersize=8,
        markeredgewidth=2 if row_marker(row) == "|" else 0,
        label=row_name(row),
    )
