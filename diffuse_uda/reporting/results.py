"""`results.json`: what a run brought, in a form that programs of later years can still read.

Stable are `seeds`, `sites`, `summary.<row>.{dice_mean, gap_closed_mean, gap_closed_worst}` and
`targets.<site>.<row>.{dice, hd95_mm}`; other keys may be added or change with `schema`. What no two runs share (clock
and machine) stands under `measured` alone: without it, equal runs give equal bytes. The file names cases, so it stays
with whoever ran the simulation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.reporting.gaps import Gap, closed_mean, closed_worst, measure_gap
from diffuse_uda.reporting.rows import row_order
from diffuse_uda.reporting.scores import SiteScores, mean_defined, rounded, summarise_row
from diffuse_uda.types import SiteRole

SCHEMA = 1
"""Raised when a key changes its meaning or goes."""

_REQUIRED = ("schema", "seeds", "sites", "rows", "summary", "targets", "source", "gaps", "exchange", "measured")

Results = dict[str, Any]
"""The content of a results file: JSON objects, lists, texts, numbers and None."""


def build_results(
    sites: Sequence[SiteScores],
    *,
    seeds: Sequence[int],
    exchange: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> Results:
    """Bring scores into the schema of `results.json`.

    Args:
        sites: Scores of every site that took part; their order does not matter.
        seeds: Seeds the run was made with.
        exchange: What travelled, as `history_view.exchange_by_phase` counts it.
        measured: What differs between equal runs: `timing` and `environment`.

    Raises:
        ValueError: If two sites share a name.
    """
    ids = [site.site_id for site in sites]
    if len(set(ids)) != len(ids):
        msg = f"site names repeat: {sorted(ids)}; every site needs its own"
        raise ValueError(msg)
    ordered = sorted(sites, key=lambda site: (site.role is not SiteRole.SOURCE, site.site_id))
    rows = row_order(row for site in sites for row in site.rows)
    tables = {site.site_id: _table(site, rows) for site in ordered}
    targets = {site.site_id: tables[site.site_id] for site in ordered if site.role is SiteRole.TARGET}
    source = next((tables[site.site_id] for site in ordered if site.role is SiteRole.SOURCE), {})
    gaps = {
        site_id: measure_gap({row: line["dice"] for row, line in table.items()}) for site_id, table in targets.items()
    }
    for site_id, table in targets.items():
        for line in table.values():
            line["gap_closed"] = rounded(gaps[site_id].closed_by(line["dice"]))
    return {
        "schema": SCHEMA,
        "seeds": list(seeds),
        "sites": {
            site.site_id: {"role": site.role.value, "num_train": site.num_train, "num_test": site.num_test}
            for site in ordered
        },
        "rows": rows,
        "summary": {row: summary_of([table[row] for table in targets.values() if row in table]) for row in rows},
        "targets": targets,
        "source": source,
        "gaps": {site_id: gap_entry(gap) for site_id, gap in gaps.items()},
        "exchange": dict(exchange),
        "measured": dict(measured),
    }


def _table(site: SiteScores, rows: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {row: summarise_row(site.rows[row]) for row in rows if row in site.rows}


def summary_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Condense one row's lines of all targets; targets weigh alike."""
    shares = [line["gap_closed"] for line in lines]
    dice = [line["dice"] for line in lines if line["dice"] is not None]
    return {
        "dice_mean": rounded(mean_defined(dice)),
        "dice_worst": min(dice, default=None),
        "hd95_mm_mean": rounded(mean_defined(line["hd95_mm"] for line in lines)),
        "hd95_undefined": sum(line["hd95_undefined"] for line in lines),
        "gap_closed_mean": rounded(closed_mean(shares)),
        "gap_closed_worst": closed_worst(shares),
        "num_targets": len(dice),
    }


def gap_entry(gap: Gap) -> dict[str, Any]:
    """Spell a gap for a file."""
    defined = gap.floor is not None and gap.ceiling is not None
    return {
        "dice": rounded(gap.ceiling - gap.floor) if defined else None,  # type: ignore[operator]
        "undefined_because": gap.undefined_because,
    }


def stable_part(results: Mapping[str, Any]) -> Results:
    """Leave out what two equal runs do not share: times and machines."""
    return {key: value for key, value in results.items() if key != "measured"}


def results_text(results: Mapping[str, Any]) -> str:
    """Spell results as JSON text: the same results give the same bytes.

    Raises:
        ValueError: If a number is not finite: a results file holds null instead.
    """
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json`: the whole file appears at once or not at all."""
    content = results_text(results).encode()
    with replaced_atomically(path) as part:
        part.write_bytes(content)


def load_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        InputError: If the file is missing, is no JSON object, lacks a part, or follows another schema.
    """
    try:
        results = json.loads(path.read_bytes())
    except OSError as error:
        raise _refusal(path, found=error.strerror or type(error).__name__, wanted="a readable file") from error
    except ValueError as error:
        raise _refusal(path, found=f"no JSON ({error})", wanted="a JSON object") from error
    if not isinstance(results, dict):
        raise _refusal(path, found=f"a JSON {type(results).__name__}", wanted="a JSON object")
    if results.get("schema") != SCHEMA:
        raise _refusal(path, found=f"schema {results.get('schema')!r}", wanted=f"schema {SCHEMA}")
    if missing := [key for key in _REQUIRED if key not in results]:
        raise _refusal(path, found=f"no {', '.join(missing)}", wanted="every part of the schema")
    return results


def _refusal(path: Path, *, found: str, wanted: str) -> InputError:
    fix = "take the results.json of a finished run, written by this version"
    return InputError([Finding(rule="results-file", centre="-", file=path.name, found=found, wanted=wanted, fix=fix)])
