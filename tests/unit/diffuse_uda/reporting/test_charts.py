from typing import Any

import pytest

from diffuse_uda.reporting.charts import render_curves, render_dice_chart
from diffuse_uda.reporting.results import Results


def test_curves_are_an_svg_that_is_the_same_every_time() -> None:
    curves = {"adapt": {"york": [(1, 1.0), (2, 0.5)], "leeds": [(1, 2.0)]}, "refine": {"leeds": [(1, 0.1)]}}
    content = render_curves(curves, ["york", "leeds"])
    assert b"<svg" in content
    assert content == render_curves(curves, ["york", "leeds"])


def test_many_phases_fill_a_grid_and_unknown_sites_find_a_colour() -> None:
    curves = {f"phase-{index}": {"_odd$name": [(1, float(index))]} for index in range(5)}
    assert b"<svg" in render_curves(curves, [])


def test_the_dice_chart_draws_scored_rows_only(results: Results) -> None:
    unscored: dict[str, Any] = {"dice": None, "cases": []}
    targets = {**results["targets"], "hull": {**results["targets"]["hull"], "asc-plus": unscored}, "empty": {}}
    complete = render_dice_chart(results["targets"], results["rows"])
    assert b"<svg" in complete
    assert len(render_dice_chart(targets, results["rows"])) < len(complete)


def test_charts_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no losses"):
        render_curves({}, [])
    with pytest.raises(ValueError, match="no target has a score"):
        render_dice_chart({"leeds": {}}, [])
