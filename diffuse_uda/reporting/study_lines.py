"""One row at one site over several seeds: the line of a table, and every patient behind it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from diffuse_uda.algorithms.metrics import StructureStatus
from diffuse_uda.reporting.scores import CaseScores, case_dice, mean_defined, rounded, summarise_row
from diffuse_uda.reporting.study_runs import Cell

_MEANS = ("dice", "hd95_mm", "assd_mm", "nsd")


def line_over_seeds(cell: Cell) -> dict[str, Any]:
    """Average the lines of single seeds, as `scores.summarise_row` makes them.

    Means are over the seeds, counts are sums over them: a structure that was missed with one seed of three is one miss.

    Returns:
        `dice`, `hd95_mm`, `assd_mm`, `nsd`, `dice_std` over seeds, `hd95_undefined`, `missed` (structures that are
        there and were not found), `num_predictions` (structures that are there), `num_cases`, `seeds`,
        `structures.<name>` and `cases`.
    """
    lines = [summarise_row(cases) for cases in cell.values()]
    names = list(dict.fromkeys(name for line in lines for name in line["structures"]))
    structures = {name: [line["structures"][name] for line in lines if name in line["structures"]] for name in names}
    present = [
        score for cases in cell.values() for case in cases for score in case.scores.values() if _is_there(score.status)
    ]
    return {
        **{key: rounded(mean_defined(line[key] for line in lines)) for key in _MEANS},
        "dice_std": spread(line["dice"] for line in lines),
        "hd95_undefined": sum(line["hd95_undefined"] for line in lines),
        "missed": sum(entry["missed"] for entries in structures.values() for entry in entries),
        "num_predictions": len(present),
        "num_cases": max((line["num_cases"] for line in lines), default=0),
        "seeds": list(cell),
        "structures": {
            name: {
                **{key: rounded(mean_defined(entry[key] for entry in entries)) for key in _MEANS},
                "dice_std": spread(entry["dice"] for entry in entries),
                **{key: sum(entry[key] for entry in entries) for key in ("undefined", "missed")},
            }
            for name, entries in structures.items()
        },
        "cases": _mean_cases(cell),
    }


def _is_there(status: StructureStatus) -> bool:
    return status in {StructureStatus.OK, StructureStatus.EMPTY_PREDICTION}


def spread(values: Iterable[float | None]) -> float | None:
    """Standard deviation of a sample (divided by n - 1); None with fewer than two defined values."""
    defined = [value for value in values if value is not None]
    return rounded(statistics.stdev(defined)) if len(defined) > 1 else None


def _mean_cases(cell: Cell) -> list[dict[str, Any]]:
    by_case: dict[str, list[CaseScores]] = {}
    for cases in cell.values():
        for case in cases:
            by_case.setdefault(case.case_id, []).append(case)
    return [
        {
            "case_id": case_id,
            "dice": rounded(mean_defined(case_dice(case) for case in by_case[case_id])),
            "hd95_mm": rounded(mean_defined(_case_mean(case, "hd95_mm") for case in by_case[case_id])),
        }
        for case_id in sorted(by_case)
    ]


def patient_dice(cell: Cell) -> dict[str, dict[int, float]]:
    """Give every patient's Dice by seed, for comparisons; a patient without any structure is left out."""
    scores: dict[str, dict[int, float]] = {}
    for seed, cases in cell.items():
        for case in cases:
            if (dice := case_dice(case)) is not None:
                scores.setdefault(case.case_id, {})[seed] = dice
    return dict(sorted(scores.items()))


def patients_table(cell: Cell, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Spell every patient's scores.

    Args:
        cell: Cases by seed.
        seeds: Seeds of the study, in the order of the lists below.

    Returns:
        By patient: `dice`, `hd95_mm`, `assd_mm`, `nsd`, each a list with one number a seed (means over the structures,
        None where undefined or absent), and `structures.<name>`, Dice averaged over the seeds.
    """
    found = {(seed, case.case_id): case for seed, cases in cell.items() for case in cases}
    return {
        case_id: {
            **{
                key: [_case_mean(found[seed, case_id], key) if (seed, case_id) in found else None for seed in seeds]
                for key in _MEANS
            },
            "structures": _structure_dice([case for (_, name), case in found.items() if name == case_id]),
        }
        for case_id in sorted({name for _, name in found})
    }


def _case_mean(case: CaseScores, key: str) -> float | None:
    return rounded(mean_defined(getattr(score, key) for score in case.scores.values()))


def _structure_dice(cases: Sequence[CaseScores]) -> dict[str, float | None]:
    names = dict.fromkeys(name for case in cases for name in case.scores)
    return {
        name: rounded(mean_defined(case.scores[name].dice for case in cases if name in case.scores)) for name in names
    }
