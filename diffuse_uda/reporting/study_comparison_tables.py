"""Tables of differences between rows: significance, federated against centralised, ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffuse_uda.reporting.rows import change_name, row_name
from diffuse_uda.reporting.study_markdown import markdown_lines, section
from diffuse_uda.reporting.study_words import (
    DASH,
    interval_caption,
    interval_text,
    joined,
    level_text,
    listed,
    p_text,
    points,
    sample_text,
)

_TEST = (
    "p is of the two-sided Wilcoxon signed-rank test over the pooled patients; Holm's p is corrected for the other "
    "lines {family}. A difference is the mean over patients within each target, then over targets, of the patients and "
    "seeds that both rows have."
)


def significance_table(results: Mapping[str, Any]) -> str:
    """Write how the headline row differs from every other; empty without such a row."""
    comparisons = results["comparisons"]
    if not comparisons["pooled"]:
        return ""
    name = row_name(comparisons["row"])
    header = [f"{name} against", *_columns(results)]
    lines = [
        [row_name(row), *_cells(comparison, comparisons["targets"], row)]
        for row, comparison in comparisons["pooled"].items()
    ]
    caption = [
        f"Positive: {name} is better.",
        sample_text(results),
        interval_caption(results),
        _TEST.format(family="of this table"),
        *_reasons(comparisons["pooled"]),
    ]
    return section(f"{name} against every other row", markdown_lines(header, lines), caption)


def centralised_table(results: Mapping[str, Any]) -> str:
    """Write what federation cost against all scans in one place; empty without a centralised row."""
    differences = results["centralised_difference"]
    if not differences["pooled"]:
        return ""
    lines = [
        [row_name(row), *_cells(comparison, differences["targets"], row)]
        for row, comparison in differences["pooled"].items()
    ]
    caption = [
        "Positive: the federation is better than its centralised reference.",
        sample_text(results),
        interval_caption(results),
        _TEST.format(family="of this table"),
        *_reasons(differences["pooled"]),
    ]
    table = markdown_lines(["federated minus centralised", *_columns(results)], lines)
    return section("Federated against centralised", table, caption)


def ablation_table(results: Mapping[str, Any]) -> str:
    """Write what every ablation changed against its base row; empty without ablations."""
    lines = [
        [f"{row_name(base)}, {change_name(row)}", *_cells(comparison, family["targets"], row)]
        for base, family in results["ablations"].items()
        for row, comparison in family["pooled"].items()
    ]
    if not lines:
        return ""
    caption = [
        "Changed minus unchanged; negative: the change did harm.",
        interval_caption(results),
        _TEST.format(family="with the same base row"),
        *(reason for family in results["ablations"].values() for reason in _reasons(family["pooled"])),
    ]
    return section("Ablations", markdown_lines(["ablation", *_columns(results)], lines), caption)


def _columns(results: Mapping[str, Any]) -> list[str]:
    return [
        f"difference, points [{level_text(results)}]",
        "p",
        "Holm's p",
        "patients better / worse / all",
        "seeds",
        *(f"{site_id}, points" for site_id in results["targets"]),
    ]


def _cells(comparison: Mapping[str, Any], by_target: Mapping[str, Any], row: str) -> list[str]:
    return [
        _difference(comparison),
        p_text(comparison["p"]),
        p_text(comparison["p_holm"]),
        f"{comparison['num_better']} / {comparison['num_worse']} / {comparison['num_patients']}",
        listed(comparison["seeds"]) or DASH,
        *(_difference(family[row]) for family in by_target.values()),
    ]


def _difference(comparison: Mapping[str, Any]) -> str:
    return joined(points(comparison["difference"]), interval_text(comparison["interval"], signed=True))


def _reasons(pooled: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    return [
        f"No p for {row_name(row)}: {comparison['undefined_because']}."
        for row, comparison in pooled.items()
        if comparison["undefined_because"] is not None
    ]
