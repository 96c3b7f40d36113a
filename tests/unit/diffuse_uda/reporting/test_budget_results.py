"""Budgets put together: `budgets.<n>.<method>`, the tables and the curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from diffuse_uda.reporting.budget_chart import render_budgets
from diffuse_uda.reporting.budget_results import combine_budgets
from diffuse_uda.reporting.budget_table import budget_markdown
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import StudyRun
from tests.unit.diffuse_uda.reporting.conftest import MakeSites


def _one(make_sites: MakeSites, gain: float, *, part: str = "development") -> Mapping[str, Any]:
    """Source-only 0.4 and target-supervised 0.8 at both targets; LE-UDA in between."""
    rows = {"source-only": 0.4, "le-uda": 0.4 + gain, "target-supervised": 0.8}
    runs = [StudyRun(seed=seed, sites=make_sites({"leeds": rows, "hull": rows})) for seed in (0, 1)]
    return build_study_results(runs, part=part, headline="le-uda")


def test_every_method_has_its_dice_and_its_share_of_the_gap_at_every_budget(make_sites: MakeSites) -> None:
    combined = combine_budgets({4: _one(make_sites, 0.3), 1: _one(make_sites, 0.2)})
    assert list(combined["budgets"]) == ["1", "4"]
    assert combined["budgets"]["1"]["le-uda"]["dice_mean"] == pytest.approx(0.6)
    assert combined["budgets"]["1"]["le-uda"]["gap_closed_mean"] == pytest.approx(0.5)
    assert combined["budgets"]["4"]["le-uda"]["gap_closed_mean"] == pytest.approx(0.75)
    assert combined["seeds"] == [0, 1]


def test_tables_have_a_column_a_budget(make_sites: MakeSites) -> None:
    text = budget_markdown(combine_budgets({4: _one(make_sites, 0.3), 1: _one(make_sites, 0.2)}))
    assert "| method | 1 | 4 |" in text
    assert "| LE-UDA | 60.0 \N{PLUS-MINUS SIGN} 0.0 | 70.0 \N{PLUS-MINUS SIGN} 0.0 |" in text
    assert "| LE-UDA | 50.0 | 75.0 |" in text
    assert "| Source-only | +20.0" in text


def test_budgets_scored_on_different_parts_are_not_put_together(make_sites: MakeSites) -> None:
    with pytest.raises(ValueError, match="differ in their part"):
        combine_budgets({1: _one(make_sites, 0.1), 2: _one(make_sites, 0.1, part="test")})


def test_the_curve_is_a_picture_and_needs_a_point(make_sites: MakeSites) -> None:
    assert render_budgets(combine_budgets({1: _one(make_sites, 0.2)})).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="nothing to draw"):
        render_budgets(combine_budgets({}))
