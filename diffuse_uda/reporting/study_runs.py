"""What single runs bring to a study, put together: whose score of which seed is at which site in which row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from diffuse_uda.reporting.scores import CaseScores, SiteScores
from diffuse_uda.reporting.study_cost import RowCost
from diffuse_uda.types import SiteRole

Cell = Mapping[int, Sequence[CaseScores]]
"""Cases of one row at one site, by seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleChoice:
    """What choosing the round by the test labels would have brought at one site. Nobody may choose so."""

    dice: float
    """Of the round that a label-free rule chose."""
    oracle_dice: float
    """Of the best round."""
    oracle_round: int
    """Which round was best, counted from 1 over the rounds that were scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRun:
    """One finished run: one seed of one or several rows."""

    seed: int
    sites: Sequence[SiteScores]
    """Scores of every site that took part, under the names that the study gives the rows."""
    costs: Mapping[str, RowCost] = field(default_factory=dict)
    """By row."""
    oracle: Mapping[str, Mapping[str, OracleChoice]] = field(default_factory=dict)
    """By row and site, where single rounds were scored."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Commit, machine and command of this run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySite:
    """A site over all runs."""

    site_id: str
    role: SiteRole
    num_train: int
    num_test: int
    rows: Mapping[str, Cell]
    """By row, then by seed in ascending order."""


def collect_sites(runs: Sequence[StudyRun]) -> list[StudySite]:
    """Bring the scores of all runs together, source first, then targets by name.

    Several runs may hold the same row of the same seed, as ASC+ and Diffuse-UDA both score their common warm-up: the
    first run given counts.

    Raises:
        ValueError: If a run has two sites of one name, or a site changes its role between runs.
    """
    first: dict[str, SiteScores] = {}
    num_train: dict[str, int] = {}
    num_test: dict[str, int] = {}
    cells: dict[str, dict[str, dict[int, Sequence[CaseScores]]]] = {}
    for run in runs:
        _require_own_names(run)
        for site in run.sites:
            known = first.setdefault(site.site_id, site)
            if known.role is not site.role:
                msg = f"site {site.site_id!r} is {site.role} with seed {run.seed} and {known.role} before; name it anew"
                raise ValueError(msg)
            num_train[site.site_id] = max(num_train.get(site.site_id, 0), site.num_train)
            num_test[site.site_id] = max(num_test.get(site.site_id, 0), site.num_test)
            rows = cells.setdefault(site.site_id, {})
            for row, cases in site.rows.items():
                rows.setdefault(row, {}).setdefault(run.seed, cases)
    sites = [
        StudySite(
            site_id=site_id,
            role=site.role,
            num_train=num_train[site_id],
            num_test=num_test[site_id],
            rows={row: dict(sorted(by_seed.items())) for row, by_seed in cells[site_id].items()},
        )
        for site_id, site in first.items()
    ]
    return sorted(sites, key=lambda site: (site.role is not SiteRole.SOURCE, site.site_id))


def _require_own_names(run: StudyRun) -> None:
    ids = [site.site_id for site in run.sites]
    if len(set(ids)) != len(ids):
        msg = f"seed {run.seed}: site names repeat: {sorted(ids)}; every site needs its own"
        raise ValueError(msg)


def repeated_rows(runs: Sequence[StudyRun]) -> dict[str, list[int]]:
    """List by row the seeds that several runs hold at the same site; all but the first were left out."""
    seen: set[tuple[str, str, int]] = set()
    repeated: dict[str, set[int]] = {}
    for run in runs:
        for site in run.sites:
            for row in site.rows:
                if (site.site_id, row, run.seed) in seen:
                    repeated.setdefault(row, set()).add(run.seed)
                seen.add((site.site_id, row, run.seed))
    return {row: sorted(seeds) for row, seeds in sorted(repeated.items())}


def missing_cells(sites: Iterable[StudySite], rows: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """List what a complete study would hold and this one does not.

    Args:
        sites: Every site; only targets with labelled test scans are looked at.
        rows: Rows that were planned.
        seeds: Seeds that were planned.

    Returns:
        Missing seeds by row and target; empty if the study is complete.
    """
    scored = [site for site in sites if site.role is SiteRole.TARGET and (site.rows or site.num_test)]
    missing = {
        row: {
            site.site_id: absent
            for site in scored
            if (absent := [seed for seed in seeds if seed not in site.rows.get(row, {})])
        }
        for row in rows
    }
    return {row: by_site for row, by_site in missing.items() if by_site}


def without_case_ids(sites: Sequence[StudySite]) -> list[StudySite]:
    """Number the patients of every site, in the order of their names: `01`, `02` and so on."""
    return [_numbered(site) for site in sites]


def _numbered(site: StudySite) -> StudySite:
    names = sorted({case.case_id for cell in site.rows.values() for cases in cell.values() for case in cases})
    numbers = {name: f"{number:0{max(2, len(str(len(names))))}}" for number, name in enumerate(names, start=1)}
    rows = {
        row: {
            seed: [CaseScores(case_id=numbers[case.case_id], scores=case.scores) for case in cases]
            for seed, cases in cell.items()
        }
        for row, cell in site.rows.items()
    }
    return replace(site, rows=rows)
