"""`results.json` of a study of label efficiency: every method at every budget of labelled source scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffuse_uda.reporting.results import SCHEMA
from diffuse_uda.reporting.rows import is_ablation, row_order

_KEPT = (
    "dice_mean",
    "dice_std",
    "interval",
    "gap_closed_mean",
    "gap_closed_worst",
    "gap_closed_of_means",
    "num_patients",
    "seeds",
)


def combine_budgets(
    results: Mapping[int, Mapping[str, Any]], *, environment: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Bring the studies of several budgets into one file.

    Args:
        results: By number of labelled source scans, as `study_results.build_study_results` makes them.
        environment: Commit, machine and command of this evaluation.

    Returns:
        JSON values: `budgets.<n>.<method>.{dice_mean, gap_closed_mean, ...}`, the row that the study is about
        (`headline`), and for every budget how it compares with the other rows (`comparisons`). Everything else is in
        the results of the single budgets.

    Raises:
        ValueError: If the studies are not of the same part or not about the same row.
    """
    found = {
        "part": {budget: one["part"] for budget, one in results.items()},
        "headline": {budget: one["comparisons"]["row"] for budget, one in results.items()},
    }
    for what, values in found.items():
        if len(set(values.values())) > 1:
            msg = f"the budgets differ in their {what}: {values}; score all of them alike"
            raise ValueError(msg)
    ordered = dict(sorted(results.items()))
    return {
        "schema": SCHEMA,
        "part": next((one["part"] for one in ordered.values()), None),
        "headline": next((one["comparisons"]["row"] for one in ordered.values()), ""),
        "seeds": sorted({seed for one in ordered.values() for seed in one["seeds"]}),
        "rows": row_order(row for one in ordered.values() for row in one["rows"] if not is_ablation(row)),
        "budgets": {
            str(budget): {
                row: {key: one["summary"][row][key] for key in _KEPT} for row in one["rows"] if not is_ablation(row)
            }
            for budget, one in ordered.items()
        },
        "comparisons": {str(budget): one["comparisons"] for budget, one in ordered.items()},
        "missing": {str(budget): one["missing"] for budget, one in ordered.items() if one["missing"]},
        "statistics": next((one["statistics"] for one in ordered.values()), {}),
        "measured": {"environment": dict(environment or {})},
    }
