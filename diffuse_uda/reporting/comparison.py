"""Whether one row is better than another on the same patients, and how sure one can be of a mean.

A patient counts once: its seeds are averaged first, because seeds are no patients. Patients stay within their site
when they are resampled, and every site weighs alike in a mean, as in the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

from diffuse_uda.reporting.scores import mean_defined

PatientScores = Mapping[str, Mapping[str, Mapping[int, float]]]
"""One score by site, patient and seed; what is not defined is left out."""

Strata = Sequence[npt.NDArray[np.float64]]
"""One number a patient, an array a site."""

FEWEST_PAIRS = 6
"""With 5 pairs the smallest two-sided p of the signed-rank test is 2 / 2^5 = 0.0625: it cannot show anything."""
NUM_RESAMPLES = 10_000
LEVEL = 0.95

_DECIMALS = 9
"""Decimal fractions are a little off when subtracted; rounded, a tie is a tie and no difference is zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Where a mean would lie had other patients of the same sites been scanned."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedRank:
    """Outcome of the paired test."""

    p: float | None
    """Two-sided, in (0, 1]; None where the test says nothing."""
    undefined_because: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """One row minus another on the patients both have a score for."""

    difference: float | None
    """Mean difference of Dice, every site weighing alike; None without a common patient."""
    interval: Interval | None
    p: float | None
    p_holm: float | None
    """`p` corrected for the other comparisons of its family."""
    undefined_because: str | None
    """Why there is no `p`; None if there is one."""
    num_patients: int
    num_better: int
    num_worse: int


def patient_means(scores: PatientScores) -> list[npt.NDArray[np.float64]]:
    """Average every patient over its seeds; sites without a patient are left out."""
    return _strata({site: [mean_defined(seeds.values()) for seeds in by.values()] for site, by in scores.items()})


def paired_differences(of: PatientScores, against: PatientScores) -> list[npt.NDArray[np.float64]]:
    """Subtract patient by patient and seed by seed, then average a patient's seeds.

    Only patients and seeds that both have a score for take part, so that neither side is helped by an easy case or a
    lucky seed which the other lacks.

    Returns:
        `of` minus `against`; an array for every site that has a common patient.
    """
    return _strata(
        {
            site: [
                mean_defined(score - against[site][patient][seed] for seed, score in seeds.items() if seed in theirs)
                for patient, seeds in by_patient.items()
                if (theirs := against.get(site, {}).get(patient, {}))
            ]
            for site, by_patient in of.items()
        }
    )


def _strata(values: Mapping[str, Sequence[float | None]]) -> list[npt.NDArray[np.float64]]:
    defined = ([round(value, _DECIMALS) for value in of_site if value is not None] for of_site in values.values())
    return [np.array(of_site, dtype=np.float64) for of_site in defined if of_site]


def stratified_mean(strata: Strata) -> float | None:
    """Average over patients within each site, then over the sites; None without a patient."""
    return mean_defined(float(np.mean(values)) for values in strata)


def stratified_interval(
    strata: Strata, *, generator: np.random.Generator, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> Interval | None:
    """Bound a stratified mean by the percentile bootstrap (Efron 1979): patients are resampled within their site.

    The interval speaks of other patients of the same sites, not of other sites nor of other seeds.

    Args:
        strata: One number a patient, an array a site.
        generator: Source of the resamples.
        num_resamples: How many means to draw.
        level: Share of them inside the interval, in (0, 1).

    Returns:
        The interval; None if a site has fewer than 2 patients, because one patient resampled is always itself.

    Raises:
        ValueError: If there is no resample or the level is outside (0, 1).
    """
    if num_resamples < 1 or not 0.0 < level < 1.0:
        msg = f"num_resamples must be at least 1 and level in (0, 1), got {num_resamples} and {level}"
        raise ValueError(msg)
    if not strata or min(len(values) for values in strata) < 2:
        return None
    means = np.zeros(num_resamples)
    for values in strata:
        chosen = generator.integers(len(values), size=(num_resamples, len(values)))
        means += values[chosen].mean(axis=1) / len(strata)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(low=float(low), high=float(high))


def signed_rank(differences: npt.NDArray[np.float64]) -> SignedRank:
    """Test paired differences (Wilcoxon 1945, two-sided).

    Differences of zero favour neither side and are dropped, as Wilcoxon did. Up to 50 pairs without ties, and up to 13
    with ties, p is exact; beyond, it is SciPy's normal approximation. It draws no random number.

    Args:
        differences: One a patient.
    """
    nonzero = differences[differences != 0.0]
    if len(nonzero) < FEWEST_PAIRS:
        found = f"{len(nonzero)} of {len(differences)} patients differ"
        return SignedRank(p=None, undefined_because=f"{found}; the test needs at least {FEWEST_PAIRS}")
    return SignedRank(p=float(wilcoxon(nonzero, alternative="two-sided").pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct the p of a family of tests (Holm 1979): the smallest times m, the next times m - 1, never falling.

    Args:
        p_values: In [0, 1]; None stands for a test that could not be made, and is none of the m.

    Returns:
        Corrected values at the same places, at most 1.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[place] = largest
    return corrected


def compare_rows(
    of: PatientScores,
    against: PatientScores,
    *,
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
    level: float = LEVEL,
) -> PairedComparison:
    """Compare two rows on the pooled patients of their sites; `p_holm` is `p` until a family is known.

    Args:
        of: The row whose gain is positive.
        against: The other one.
        generator: Source of the resamples.
        num_resamples: How many means the interval is drawn from.
        level: Share of them inside the interval, in (0, 1).
    """
    strata = paired_differences(of, against)
    pooled = np.concatenate(strata) if strata else np.zeros(0)
    test = signed_rank(pooled)
    return PairedComparison(
        difference=stratified_mean(strata),
        interval=stratified_interval(strata, generator=generator, num_resamples=num_resamples, level=level),
        p=test.p,
        p_holm=test.p,
        undefined_because=test.undefined_because,
        num_patients=len(pooled),
        num_better=int(np.count_nonzero(pooled > 0.0)),
        num_worse=int(np.count_nonzero(pooled < 0.0)),
    )


def corrected_family(family: Mapping[str, PairedComparison]) -> dict[str, PairedComparison]:
    """Correct every comparison for the others of the family."""
    corrected = holm([comparison.p for comparison in family.values()])
    return {row: replace(comparison, p_holm=p) for (row, comparison), p in zip(family.items(), corrected, strict=True)}
