"""`results.json` of a study: several seeds, many rows, every patient, and how sure one can be.

It follows the schema of `results.py`, with means over the seeds, and adds keys. A study that is not finished gives a
file all the same, which says under `missing` what is not there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffuse_uda.reporting.comparison import FEWEST_PAIRS, PatientScores
from diffuse_uda.reporting.gaps import Gap, measure_gap
from diffuse_uda.reporting.results import SCHEMA, Results, gap_entry, summary_of
from diffuse_uda.reporting.rows import CEILING, FLOOR, is_ablation, row_order
from diffuse_uda.reporting.scores import mean_defined, rounded, summarise_row
from diffuse_uda.reporting.study_comparisons import (
    Statistics,
    ablation_differences,
    centralised_differences,
    headline_comparisons,
)
from diffuse_uda.reporting.study_cost import cost_entries, timing_entries, total_exchange
from diffuse_uda.reporting.study_lines import line_over_seeds, patient_dice, patients_table, spread
from diffuse_uda.reporting.study_runs import (
    StudyRun,
    StudySite,
    collect_sites,
    missing_cells,
    repeated_rows,
    without_case_ids,
)
from diffuse_uda.types import SiteRole

HEADLINE = "diffuse-uda"
PARTS = ("development", "test", "all")

_Table = dict[str, dict[str, Any]]


def build_study_results(
    runs: Sequence[StudyRun],
    *,
    part: str,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
    headline: str = HEADLINE,
    statistics: Statistics | None = None,
    environment: Mapping[str, Any] | None = None,
    anonymous: bool = False,
) -> Results:
    """Bring the runs of a study into one file.

    Args:
        runs: Finished runs. Where two hold the same row, seed and site, the first counts.
        part: Which held-out scans were scored: `development`, `test` or `all`.
        rows: Rows that were planned; none means those that are there, ablations aside.
        seeds: Seeds that were planned; none means those that are there.
        headline: Row that is compared with every other.
        statistics: How intervals are drawn.
        environment: Commit, machine and command of this evaluation.
        anonymous: Number the patients of every site instead of naming their cases.

    Returns:
        JSON values. `results.stable_part` leaves out `measured`, which no two runs share.

    Raises:
        ValueError: If `part` is unknown, or runs do not fit together (see `study_runs.collect_sites`).
    """
    if part not in PARTS:
        msg = f"part is {part!r}; scores are of one of {', '.join(PARTS)}"
        raise ValueError(msg)
    statistics = statistics or Statistics()
    sites = collect_sites(runs)
    sites = without_case_ids(sites) if anonymous else sites
    present = row_order(row for site in sites for row in site.rows)
    seeds_present = sorted({run.seed for run in runs})
    planned = row_order(rows) or [row for row in present if not is_ablation(row)]
    scores = {
        row: {site.site_id: patient_dice(site.rows[row]) for site in _targets(sites) if row in site.rows}
        for row in present
    }
    tables = {site.site_id: _table(site, present) for site in sites}
    targets = {site.site_id: tables[site.site_id] for site in _targets(sites)}
    gaps = {site_id: measure_gap(_dice_by_row(table)) for site_id, table in targets.items()}
    for site_id, table in targets.items():
        for row, line in table.items():
            line["gap_closed"] = rounded(gaps[site_id].closed_by(line["dice"]))
            line["interval"] = statistics.interval_of({site_id: scores[row][site_id]})
    per_seed = {
        str(seed): {site.site_id: _one_seed(site, present, seed) for site in _targets(sites)} for seed in seeds_present
    }
    costs = [(run.seed, run.costs) for run in runs]
    return {
        "schema": SCHEMA,
        "part": part,
        "seeds": seeds_present,
        "sites": {
            site.site_id: {"role": site.role.value, "num_train": site.num_train, "num_test": site.num_test}
            for site in sites
        },
        "rows": present,
        "summary": {row: _summary(row, targets, scores[row], per_seed, statistics) for row in present},
        "targets": targets,
        "source": next((tables[site.site_id] for site in sites if site.role is SiteRole.SOURCE), {}),
        "gaps": {site_id: gap_entry(gap) for site_id, gap in gaps.items()},
        "comparisons": headline_comparisons(scores, headline, list(targets), statistics),
        "centralised_difference": centralised_differences(scores, list(targets), statistics),
        "ablations": ablation_differences(scores, list(targets), statistics),
        "oracle": _oracle(runs),
        "cost": cost_entries(costs),
        "missing": missing_cells(sites, planned, seeds or seeds_present),
        "repeated": repeated_rows(runs),
        "statistics": {
            "level": statistics.level,
            "num_resamples": statistics.num_resamples,
            "bootstrap_seed": statistics.bootstrap_seed,
            "fewest_pairs": FEWEST_PAIRS,
        },
        "per_seed": per_seed,
        "patients": {
            site.site_id: {row: patients_table(site.rows[row], seeds_present) for row in present if row in site.rows}
            for site in _targets(sites)
        },
        "exchange": {"total": total_exchange(costs)},
        "measured": {
            "timing": {"rows": timing_entries(costs)},
            "environment": dict(environment or {}),
            "runs": [_run_entry(run) for run in runs],
        },
    }


def _targets(sites: Sequence[StudySite]) -> list[StudySite]:
    return [site for site in sites if site.role is SiteRole.TARGET]


def _table(site: StudySite, rows: Sequence[str]) -> _Table:
    return {row: line_over_seeds(site.rows[row]) for row in rows if row in site.rows}


def _dice_by_row(table: _Table) -> dict[str, float | None]:
    return {row: line["dice"] for row, line in table.items()}


def _one_seed(site: StudySite, rows: Sequence[str], seed: int) -> _Table:
    scored = {row: site.rows[row][seed] for row in rows if seed in site.rows.get(row, {})}
    return {row: {"dice": summarise_row(cases)["dice"]} for row, cases in scored.items()}


def _summary(
    row: str,
    targets: Mapping[str, _Table],
    scores: PatientScores,
    per_seed: Mapping[str, Mapping[str, _Table]],
    statistics: Statistics,
) -> dict[str, Any]:
    lines = {site_id: table[row] for site_id, table in targets.items() if row in table}
    dice = {site_id: line["dice"] for site_id, line in lines.items() if line["dice"] is not None}
    return {
        **summary_of(list(lines.values())),
        "dice_std": _spread_of_means(row, list(dice), per_seed),
        "interval": statistics.interval_of(scores),
        "worst_site": min(dice, key=dice.__getitem__, default=None),
        "gap_closed_of_means": rounded(_closed_of_means(row, targets)),
        "missed": sum(line["missed"] for line in lines.values()),
        "num_predictions": sum(line["num_predictions"] for line in lines.values()),
        "num_patients": sum(len(patients) for patients in scores.values()),
        "seeds": sorted({seed for line in lines.values() for seed in line["seeds"]}),
    }


def _spread_of_means(row: str, site_ids: Sequence[str], per_seed: Mapping[str, Mapping[str, _Table]]) -> float | None:
    """Standard deviation over seeds of the mean over targets, from seeds that hold every target of the row."""
    by_seed = [[table[site_id].get(row, {}).get("dice") for site_id in site_ids] for table in per_seed.values()]
    return spread(mean_defined(dice) for dice in by_seed if None not in dice)


def _closed_of_means(row: str, targets: Mapping[str, _Table]) -> float | None:
    """Share of the gap between mean Dices, over the targets that have the row, the floor and the ceiling."""
    dice = [_dice_by_row(table) for table in targets.values()]
    whole = [of for of in dice if None not in (of.get(row), of.get(FLOOR), of.get(CEILING))]
    means: Gap = measure_gap({name: mean_defined(of[name] for of in whole) for name in (FLOOR, CEILING)})
    return means.closed_by(mean_defined(of[row] for of in whole))


def _oracle(runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Average over the seeds what the label-free choice and the forbidden one gave."""
    found: dict[str, dict[str, dict[int, Any]]] = {}
    for run in runs:
        for row, by_site in run.oracle.items():
            for site_id, choice in by_site.items():
                found.setdefault(row, {}).setdefault(site_id, {}).setdefault(run.seed, choice)
    return {
        row: {
            site_id: {
                "dice": rounded(mean_defined(choice.dice for choice in choices.values())),
                "oracle_dice": rounded(mean_defined(choice.oracle_dice for choice in choices.values())),
                "oracle_rounds": {str(seed): choice.oracle_round for seed, choice in sorted(choices.items())},
            }
            for site_id, choices in sorted(found[row].items())
        }
        for row in row_order(found)
    }


def _run_entry(run: StudyRun) -> dict[str, Any]:
    rows = row_order(row for site in run.sites for row in site.rows)
    return {"seed": run.seed, "rows": rows, **run.environment}
