"""From the signs of all cases to one order, worst first, with reasons to look in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from diffuse_uda.algorithms.label_free_quality import ODD, rank_correlation, suspicion, volume_oddness
from diffuse_uda.algorithms.metrics import StructureScore
from diffuse_uda.reporting.site_page import CaseLine, StructureLine
from diffuse_uda.review.measuring import MeasuredCase, StructureSigns

Scores = Mapping[str, Mapping[str, StructureScore]]
"""By case and structure; only of cases with a reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """All cases, worst first."""

    lines: tuple[CaseLine, ...]
    correlation: float | None
    """Of suspicion with Dice, over the scored cases."""
    num_scored: int


def put_in_order(cases: Sequence[MeasuredCase], label_names: Sequence[str], scores: Scores) -> Ordered:
    """Order cases by their suspicion, then by their names: never by chance. References have no part in it.

    Args:
        cases: Every case of the report, in any order.
        label_names: Classes, background first.
        scores: Of the cases that have a reference.
    """
    oddness = [_oddness(case, cases) for case in cases]
    signs = [_signs(case, odd) for case, odd in zip(cases, oddness, strict=True)]
    suspicions = suspicion(signs)
    lines = [
        CaseLine(
            case_id=case.scan.case_id,
            suspicion=value,
            signs=sign,
            structures=_structures(case, odd, label_names, scores.get(case.scan.case_id, {})),
            flags=_flags(case, odd, label_names),
            dice=_mean(score.dice for score in scores.get(case.scan.case_id, {}).values()),
        )
        for case, odd, sign, value in zip(cases, oddness, signs, suspicions, strict=True)
    ]
    scored = [line for line in lines if line.dice is not None]
    return Ordered(
        lines=tuple(sorted(lines, key=lambda line: (-line.suspicion, line.case_id))),
        correlation=rank_correlation(
            [line.suspicion for line in scored], [line.dice for line in scored if line.dice is not None]
        ),
        num_scored=len(scored),
    )


def _oddness(case: MeasuredCase, cases: Sequence[MeasuredCase]) -> dict[int, float | None]:
    return {
        label: volume_oddness(
            signs.volume_ml, [other.structures[label].volume_ml for other in cases if other is not case]
        )
        for label, signs in case.structures.items()
    }


def _signs(case: MeasuredCase, oddness: Mapping[int, float | None]) -> dict[str, float | None]:
    """The four signs, each the larger the worse; means over structures, but the oddest volume, which stands alone."""

    def mean_of(value: Callable[[StructureSigns], float | None]) -> float | None:
        return _mean(value(signs) for signs in case.structures.values())

    agreed = mean_of(lambda signs: signs.agreement)
    odd = [abs(value) for value in oddness.values() if value is not None]
    return {
        "disagreement of views": None if agreed is None else 1.0 - agreed,
        "entropy": mean_of(lambda signs: signs.entropy),
        "unusual volume": max(odd, default=None),
        "islands": float(sum(signs.num_islands for signs in case.structures.values())),
    }


def _structures(
    case: MeasuredCase,
    oddness: Mapping[int, float | None],
    label_names: Sequence[str],
    scores: Mapping[str, StructureScore],
) -> tuple[StructureLine, ...]:
    lines = []
    for label, signs in sorted(case.structures.items()):
        score = scores.get(label_names[label])
        lines.append(
            StructureLine(
                label=label,
                name=label_names[label],
                volume_ml=signs.volume_ml,
                oddness=oddness[label],
                confidence=signs.confidence,
                entropy=signs.entropy,
                agreement=signs.agreement,
                num_islands=signs.num_islands,
                dice=None if score is None else score.dice,
                hd95_mm=None if score is None else score.hd95_mm,
            )
        )
    return tuple(lines)


def _flags(case: MeasuredCase, oddness: Mapping[int, float | None], label_names: Sequence[str]) -> tuple[str, ...]:
    flags = []
    for label, signs in sorted(case.structures.items()):
        odd = oddness[label]
        if signs.volume_ml == 0.0:
            flags.append(f"{label_names[label]}: not found at all")
        elif odd is not None and abs(odd) >= ODD:
            than = "larger" if odd > 0 else "smaller"
            flags.append(f"{label_names[label]}: {signs.volume_ml:.1f} ml, unusually {than} than in the other cases")
    return tuple(flags)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
