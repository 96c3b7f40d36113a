"""From the scores of single structures to one line of a table: means that say what they leave out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffuse_uda.algorithms.metrics import StructureScore, StructureStatus
from diffuse_uda.types import SiteRole

DECIMALS = 6
"""Digits kept in a results file: far below any difference that matters, far above the noise of a summation order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseScores:
    """Every structure's score in one case."""

    case_id: str
    scores: Mapping[str, StructureScore]
    """By the structure's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteScores:
    """Everything that was scored at one site; a site without labelled held-out scans has no rows."""

    site_id: str
    role: SiteRole
    num_train: int
    num_test: int
    rows: Mapping[str, Sequence[CaseScores]] = field(default_factory=dict)
    """Held-out cases by method row."""


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Average what is defined; None if nothing is. The sum is exact, hence independent of the order."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def rounded(value: float | None) -> float | None:
    """Round for a file; a negative zero becomes zero, None stays None."""
    return None if value is None else round(value, DECIMALS) + 0.0


def case_dice(case: CaseScores) -> float | None:
    """Average Dice over the structures that one case or its prediction holds, in [0, 1]."""
    return mean_defined(score.dice for score in case.scores.values())


def summarise_row(cases: Sequence[CaseScores]) -> dict[str, Any]:
    """Condense one method's scores at one site.

    Every structure is averaged over the cases first and the structures weigh alike, so that the line's numbers are the
    means of the structure table below it. A distance exists only where both masks do: a method that misses a structure
    altogether has fewer distances, not worse ones, which is why their absence is counted beside the mean.

    Args:
        cases: Scores of the held-out cases, in any order.

    Returns:
        `dice` and `nsd` in [0, 1], `hd95_mm` and `assd_mm` in millimetres (None where never defined),
        `hd95_undefined`, `num_cases`, `structures.<name>` and the list `cases`.
    """
    names = list(dict.fromkeys(name for case in cases for name in case.scores))
    by_name = {name: [case.scores[name] for case in cases if name in case.scores] for name in names}
    structures = {name: _summarise_structure(scores) for name, scores in by_name.items()}
    line = {key: _mean_over(structures, key) for key in ("dice", "hd95_mm", "assd_mm", "nsd")}
    return {
        **{key: rounded(value) for key, value in line.items()},
        "hd95_undefined": sum(structure["undefined"] for structure in structures.values()),
        "num_cases": len(cases),
        "structures": {name: _rounded_values(structure) for name, structure in structures.items()},
        "cases": [_summarise_case(case) for case in sorted(cases, key=lambda case: case.case_id)],
    }


def _summarise_structure(scores: Sequence[StructureScore]) -> dict[str, Any]:
    return {
        "dice": mean_defined(score.dice for score in scores),
        "hd95_mm": mean_defined(score.hd95_mm for score in scores),
        "assd_mm": mean_defined(score.assd_mm for score in scores),
        "nsd": mean_defined(score.nsd for score in scores),
        "undefined": sum(score.hd95_mm is None for score in scores),
        "missed": sum(score.status == StructureStatus.EMPTY_PREDICTION for score in scores),
    }


def _summarise_case(case: CaseScores) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "dice": rounded(case_dice(case)),
        "hd95_mm": rounded(mean_defined(score.hd95_mm for score in case.scores.values())),
    }


def _mean_over(structures: Mapping[str, Mapping[str, Any]], key: str) -> float | None:
    return mean_defined(structure[key] for structure in structures.values())


def _rounded_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, int) else rounded(value) for key, value in values.items()}
