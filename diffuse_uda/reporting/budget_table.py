"""Tables of a study of label efficiency as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffuse_uda.reporting.rows import CEILING, row_name
from diffuse_uda.reporting.study_markdown import markdown_lines, section
from diffuse_uda.reporting.study_words import DASH, interval_text, joined, p_text, percent, plural, points

_DRAWS = "Every seed is also a draw of the labelled scans; a smaller budget's scans are among a larger one's."
_CEILING = (
    f"{row_name(CEILING)}: as many labelled scans of the target itself. Gap closed is (method - source-only) / "
    "(target-supervised - source-only) at the same budget, at every target and then averaged."
)


def budget_markdown(results: Mapping[str, Any]) -> str:
    """Write Dice, gap closed and comparisons over the budgets.

    Args:
        results: As `budget_results.combine_budgets` makes them.

    Returns:
        Markdown that ends with a newline.
    """
    seeds, headline = results["seeds"], row_name(results["headline"])
    said = f"On the {results['part']} part; {plural(len(seeds), 'seed')}: {', '.join(map(str, seeds)) or 'none'}."
    parts = [
        section("Mean Dice % by number of labelled source scans", _by_budget(results, _dice), [said, _DRAWS]),
        section("Gap closed %", _by_budget(results, _gap), [_CEILING]),
        section(
            f"{headline} against the other rows, Dice points",
            _by_budget(results, _difference),
            [
                "Pooled patients; in brackets the p of Wilcoxon's test with Holm's correction within a budget.",
                "Structures, patients, costs and ablations of one budget: `budget-<n>/table.md`.",
            ],
        ),
    ]
    return "\n".join(parts)


_Cell = Callable[[Mapping[str, Any], str, str], str]


def _by_budget(results: Mapping[str, Any], cell: _Cell) -> list[str]:
    budgets = list(results["budgets"])
    lines = [[row_name(row), *(cell(results, budget, row) for budget in budgets)] for row in results["rows"]]
    kept = [line for line in lines if set(line[1:]) != {DASH}]
    return markdown_lines(["method", *budgets], kept)


def _dice(results: Mapping[str, Any], budget: str, row: str) -> str:
    summary = results["budgets"][budget].get(row)
    if summary is None:
        return DASH
    spread = summary["dice_std"]
    return joined(percent(summary["dice_mean"]), "" if spread is None else f"\N{PLUS-MINUS SIGN} {percent(spread)}")


def _gap(results: Mapping[str, Any], budget: str, row: str) -> str:
    summary = results["budgets"][budget].get(row)
    return DASH if summary is None else percent(summary["gap_closed_mean"])


def _difference(results: Mapping[str, Any], budget: str, row: str) -> str:
    found = results["comparisons"][budget]["pooled"].get(row)
    if found is None or found["difference"] is None:
        return DASH
    return joined(points(found["difference"]), interval_text(found["interval"], signed=True), f"({_p(found)})")


def _p(comparison: Mapping[str, Any]) -> str:
    return f"p {p_text(comparison['p_holm'])}"
