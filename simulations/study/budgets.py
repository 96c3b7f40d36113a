"""A study of label efficiency: the same comparison at several budgets of source labels, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.errors import ConfigError
from diffuse_uda.reporting.budget_chart import render_budgets
from diffuse_uda.reporting.budget_results import combine_budgets
from diffuse_uda.reporting.budget_table import budget_markdown
from diffuse_uda.reporting.machine import describe_machine
from diffuse_uda.reporting.results import write_results
from diffuse_uda.types import SiteRole
from simulations.study.budget_ladder import HEADLINE, budget_ladder, le_uda_ablations
from simulations.study.command import Wanted, carry_out_study
from simulations.study.job import Job
from simulations.study.plan import Study

CURVE = "budgets.png"


def budget_studies(study: Study, budgets: Sequence[int]) -> dict[int, Study]:
    """One study a budget; a seed is also the draw of the labelled scans.

    Args:
        study: What all of them have in common.
        budgets: Numbers of labelled training scans at the source, each at least 1.

    Raises:
        ConfigError: If the source has fewer labelled scans than the largest budget, or a budget is below 1.
    """
    source = next(centre for centre in study.centres if centre.role is SiteRole.SOURCE)
    num_labelled = sum(case.label_map is not None for case in source.files.train)
    if not budgets or min(budgets) < 1 or max(budgets) > num_labelled:
        msg = f"budgets {list(budgets)}: wanted numbers from 1 to {num_labelled}, the labelled scans of the source"
        raise ConfigError(msg)
    return {budget: _of_budget(study, budget) for budget in sorted(set(budgets))}


def _of_budget(study: Study, budget: int) -> Study:
    config = StudyConfig.from_flat({**study.config.to_flat(), "source.num-labelled": budget})
    return replace(
        study,
        config=config,
        out=study.out / f"budget-{budget}",
        rungs=budget_ladder,
        taken_apart=le_uda_ablations,
        headline=HEADLINE,
    )


def carry_out_budgets(
    study: Study,
    budgets: Sequence[int],
    wanted: Wanted,
    results_dir: Path,
    console: Console,
    *,
    take_apart_at: Sequence[int] = (),
) -> list[Job]:
    """Run what is not finished, budget by budget; put together what there is after each.

    Args:
        study: What all budgets have in common.
        budgets: Numbers of labelled training scans at the source.
        wanted: Which part to carry out, and how.
        results_dir: For the figures of all budgets together; those of one are in `budget-<n>` there.
        console: Where tables go.
        take_apart_at: Budgets at which the ablations of LE-UDA are run as well.

    Returns:
        The jobs that failed.
    """
    failed: list[Job] = []
    for budget, one in budget_studies(study, budgets).items():
        console.rule(f"{budget} labelled source scans")
        asked = replace(wanted, with_ablations=wanted.with_ablations or budget in take_apart_at)
        failed += carry_out_study(one, asked, results_dir / f"budget-{budget}", console)
        write_budgets(study, budgets, results_dir)
    return failed


def write_budgets(study: Study, budgets: Sequence[int], results_dir: Path) -> Mapping[str, Any]:
    """Write `results.json`, `table.md` and the curve from the budgets that have results."""
    found = {
        budget: _read_results(results_dir / f"budget-{budget}" / "results.json") for budget in sorted(set(budgets))
    }
    combined = combine_budgets(
        {budget: results for budget, results in found.items() if results is not None},
        environment={**describe_machine(), "command": study.command},
    )
    write_results(results_dir / "results.json", combined)
    with replaced_atomically(results_dir / "table.md") as draft:
        draft.write_text(budget_markdown(combined), encoding="utf-8")
    with replaced_atomically(results_dir / CURVE) as draft:
        draft.write_bytes(render_budgets(combined))
    return combined


def _read_results(path: Path) -> Mapping[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
