"""Pictures of a study: where every row stands at every target, and structure by structure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from diffuse_uda.reporting.axes import FAINT_INK, INK, dress_axes, explain_marks, name_numbers, name_rows
from diffuse_uda.reporting.canvas import chart_png_bytes, light_figure, plain_text
from diffuse_uda.reporting.palette import row_colour, row_marker
from diffuse_uda.reporting.rows import CEILING, FLOOR, is_ablation, is_centralised, row_name
from diffuse_uda.reporting.study_words import level_text, percent, plural

_FONT_SIZE = 9
_NAMES_WIDTH_IN = 2.2
"""Room for the names of the rows."""


def render_ladder(results: Mapping[str, Any]) -> bytes:
    """Draw the Dice of every row, a panel for every target: mean, interval, and a dot for every patient.

    Args:
        results: As `study_results.build_study_results` makes them.

    Returns:
        A PNG.

    Raises:
        ValueError: If no target has a score.
    """
    targets, rows = _scored_targets(results), _main_rows(results)
    figure = light_figure(_NAMES_WIDTH_IN + 2.9 * len(targets), 1.1 + 0.3 * len(rows))
    panels = figure.subplots(1, len(targets), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (site_id, table) in zip(panels, targets.items(), strict=True):
        for height, row in enumerate(rows):
            if row in table and table[row]["dice"] is not None:
                _draw_step(axes, table[row], row, height)
        for row in (FLOOR, CEILING):
            if row in table and table[row]["dice"] is not None:
                axes.axvline(100 * table[row]["dice"], color=FAINT_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        num_patients = max(line["num_cases"] for line in table.values())
        dress_axes(axes, title=f"{site_id} ({plural(num_patients, 'patient')})")
        axes.grid(visible=False, axis="y")
        name_numbers(axes, "Dice %")
    name_rows(panels[0], [row_name(row) for row in rows])
    low = 100 * min(case["dice"] for case in _scored_cases(targets))
    panels[0].set_xlim(max(0.0, 10 * math.floor((low - 3) / 10)), 100)
    panels[0].set_xticks([tick for tick in range(0, 101, 20) if tick >= panels[0].get_xlim()[0]])
    explain_marks(
        figure,
        f"Large: mean over {plural(len(results['seeds']), 'seed')}; bar: {level_text(results)} interval over patients; "
        "small: single patients; hollow: centralised; dashed: source-only and target-supervised",
    )
    return chart_png_bytes(figure)


def _scored_cases(targets: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    lines = [line for table in targets.values() for line in table.values()]
    return [case for line in lines for case in line["cases"] if case["dice"] is not None]


def _draw_step(axes: Axes, line: Mapping[str, Any], row: str, height: int) -> None:
    colour = row_colour(row)
    single = [100 * case["dice"] for case in line["cases"] if case["dice"] is not None]
    # A fixed zigzag keeps equal patients apart without any chance in the picture.
    lanes = [height + 0.11 * (index % 3 - 1) for index in range(len(single))]
    axes.plot(single, lanes, "o", color=colour, alpha=0.45, markersize=3.2, markeredgewidth=0, zorder=2)
    if line["interval"] is not None:
        axes.plot([100 * bound for bound in line["interval"]], [height, height], color=colour, linewidth=2.6, zorder=3)
    axes.plot(
        [100 * line["dice"]],
        [height],
        row_marker(row),
        color=colour,
        markersize=9 if row == CEILING else 6.5,
        markerfacecolor="white" if is_centralised(row) else colour,
        markeredgecolor=colour,
        markeredgewidth=2.5 if row == CEILING else 1.4,
        zorder=4,
    )
    axes.text(
        1.01,
        height,
        percent(line["dice"]),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=_FONT_SIZE - 1,
        color=INK,
    )


def render_structures(results: Mapping[str, Any]) -> bytes:
    """Draw the Dice of every structure as a map of numbers, a panel for every target.

    Args:
        results: As `study_results.build_study_results` makes them.

    Returns:
        A PNG.

    Raises:
        ValueError: If no target has a score.
    """
    targets, rows = _scored_targets(results), _main_rows(results)
    names = list(
        dict.fromkeys(name for table in targets.values() for line in table.values() for name in line["structures"])
    )
    figure = light_figure(_NAMES_WIDTH_IN + (0.3 + 0.4 * len(names)) * len(targets), 2.0 + 0.27 * len(rows))
    panels = figure.subplots(1, len(targets), squeeze=False, sharey=True)[0]
    scale = ScalarMappable(Normalize(0, 100), "cividis")
    for axes, (site_id, table) in zip(panels, targets.items(), strict=True):
        shares = np.array([[_structure_dice(table, row, name) for name in names] for row in rows])
        # Cividis runs from dark to light alike for every kind of colour vision.
        axes.imshow(100 * shares, cmap=scale.cmap, norm=scale.norm, aspect="auto")
        for place in np.ndindex(shares.shape):
            _write_number(axes, place, float(shares[place]))
        dress_axes(axes, title=site_id)
        axes.grid(visible=False)
        axes.set_xticks(range(len(names)), [plain_text(name) for name in names], rotation=90, fontsize=8)
    name_rows(panels[0], [row_name(row) for row in rows])
    figure.colorbar(scale, ax=list(panels), label="Dice %", pad=0.01, aspect=30)
    return chart_png_bytes(figure)


def _structure_dice(table: Mapping[str, Any], row: str, name: str) -> float:
    dice = table.get(row, {}).get("structures", {}).get(name, {}).get("dice")
    return math.nan if dice is None else dice


def _write_number(axes: Axes, place: tuple[int, ...], share: float) -> None:
    height, column = place
    text = "-" if math.isnan(share) else f"{100 * share:.0f}"
    colour = "black" if math.isnan(share) or share > 0.5 else "white"
    axes.text(column, height, text, ha="center", va="center", fontsize=8, color=colour)


def _main_rows(results: Mapping[str, Any]) -> list[str]:
    scored = {row for table in results["targets"].values() for row in table}
    return [row for row in results["rows"] if row in scored and not is_ablation(row)]


def _scored_targets(results: Mapping[str, Any]) -> dict[str, Any]:
    """Targets with a score, without the ablations.

    Raises:
        ValueError: If there is none.
    """
    tables = {
        site_id: {row: line for row, line in table.items() if not is_ablation(row) and line["dice"] is not None}
        for site_id, table in results["targets"].items()
    }
    scored = {site_id: table for site_id, table in tables.items() if table}
    if not scored:
        msg = "no target has a score: there is nothing to draw; leave the figure out"
        raise ValueError(msg)
    return scored
