"""The comparisons of a study: the headline row against every other, federated against centralised, ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffuse_uda.reporting.comparison import (
    LEVEL,
    NUM_RESAMPLES,
    Interval,
    PairedComparison,
    PatientScores,
    compare_rows,
    corrected_family,
    patient_means,
    stratified_interval,
)
from diffuse_uda.reporting.rows import CENTRALISED, base_row, is_ablation, is_centralised
from diffuse_uda.reporting.scores import rounded

_Pairs = Mapping[str, tuple[str, str]]
"""Name of the comparison to the row and the one it is compared against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """How intervals are drawn."""

    bootstrap_seed: int = 0
    """Every interval starts here anew: rows with the same patients share their resamples, and a row that is added
    later changes no other row's digits."""
    num_resamples: int = NUM_RESAMPLES
    level: float = LEVEL
    """Share of the resampled means inside an interval, in (0, 1)."""

    def interval_of(self, scores: PatientScores) -> list[float | None] | None:
        """Bound one row's mean over the sites; None where a site has a single patient or none has any."""
        interval = stratified_interval(
            patient_means(scores), generator=self._generator(), num_resamples=self.num_resamples, level=self.level
        )
        return _interval_entry(interval)

    def compare(self, of: PatientScores, against: PatientScores) -> PairedComparison:
        """Compare two rows."""
        return compare_rows(
            of, against, generator=self._generator(), num_resamples=self.num_resamples, level=self.level
        )

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.bootstrap_seed)


def headline_comparisons(
    scores: Mapping[str, PatientScores], headline: str, site_ids: Sequence[str], statistics: Statistics
) -> dict[str, Any]:
    """Compare the headline row with every other row a site could run, and with the ceiling.

    The family that Holm's correction speaks of is all rows of one list: the pooled patients, or one target.
    Centralised references and ablations ask other questions and are families of their own.

    Args:
        scores: Patients' Dice by row, at the targets.
        headline: The row whose gain is positive.
        site_ids: Targets, in reading order.
        statistics: How intervals are drawn.

    Returns:
        `row`, `pooled.<row>` and `targets.<site>.<row>`; without the headline row both are empty.
    """
    others = [row for row in scores if row != headline and not is_ablation(row) and not is_centralised(row)]
    pairs = {row: (headline, row) for row in others if headline in scores}
    return {"row": headline, **_pooled_and_by_target(scores, pairs, site_ids, statistics)}


def centralised_differences(
    scores: Mapping[str, PatientScores], site_ids: Sequence[str], statistics: Statistics
) -> dict[str, Any]:
    """Subtract from every federated row its centralised reference.

    Returns:
        `pooled.<row>` and `targets.<site>.<row>`, named by the federated row.
    """
    pairs = {row: (row, row + CENTRALISED) for row in scores if row + CENTRALISED in scores and not is_ablation(row)}
    return _pooled_and_by_target(scores, pairs, site_ids, statistics)


def ablation_differences(
    scores: Mapping[str, PatientScores], site_ids: Sequence[str], statistics: Statistics
) -> dict[str, Any]:
    """Subtract from every ablation the row it changed; the ablations of one base row are a family.

    Returns:
        By base row: `pooled.<ablation>` and `targets.<site>.<ablation>`. Negative: the change did harm.
    """
    bases = dict.fromkeys(base_row(row) for row in scores if is_ablation(row))
    return {
        base: _pooled_and_by_target(
            scores,
            {row: (row, base) for row in scores if is_ablation(row) and base_row(row) == base},
            site_ids,
            statistics,
        )
        for base in bases
        if base in scores
    }


def _pooled_and_by_target(
    scores: Mapping[str, PatientScores], pairs: _Pairs, site_ids: Sequence[str], statistics: Statistics
) -> dict[str, Any]:
    return {
        "pooled": _family(scores, pairs, statistics),
        "targets": {
            site_id: _family(
                {row: {site_id: of_row.get(site_id, {})} for row, of_row in scores.items()}, pairs, statistics
            )
            for site_id in site_ids
        },
    }


def _family(scores: Mapping[str, PatientScores], pairs: _Pairs, statistics: Statistics) -> dict[str, Any]:
    compared = {name: statistics.compare(scores[of], scores[against]) for name, (of, against) in pairs.items()}
    return {
        name: {**_entry(comparison), "seeds": _common_seeds(scores[pairs[name][0]], scores[pairs[name][1]])}
        for name, comparison in corrected_family(compared).items()
    }


def _entry(comparison: PairedComparison) -> dict[str, Any]:
    return {
        "difference": rounded(comparison.difference),
        "interval": _interval_entry(comparison.interval),
        "p": _three_digits(comparison.p),
        "p_holm": _three_digits(comparison.p_holm),
        "undefined_because": comparison.undefined_because,
        "num_patients": comparison.num_patients,
        "num_better": comparison.num_better,
        "num_worse": comparison.num_worse,
    }


def _interval_entry(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [rounded(interval.low), rounded(interval.high)]


def _three_digits(p: float | None) -> float | None:
    # Not six decimals: a p of 1e-7 is not 0.
    return None if p is None else float(f"{p:.3g}")


def _common_seeds(of: PatientScores, against: PatientScores) -> list[int]:
    return sorted(_seeds(of) & _seeds(against))


def _seeds(scores: PatientScores) -> set[int]:
    return {seed for by_patient in scores.values() for seeds in by_patient.values() for seed in seeds}
