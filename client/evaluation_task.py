"""Scores on held-out scans, on each scan's own grid: the only task that reads a target's labels."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping

from client.cases import test_cases, test_files
from client.workplace import Workplace
from diffuse_uda.algorithms.metrics import StructureScore, score_case
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.cases import restore_to_scan
from diffuse_uda.data.label_maps import load_label_map
from diffuse_uda.data.volumes import save_volume
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.training.inference import label_probabilities
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.types import ModelName, StateDict

NSD_TOLERANCE_MM = 4.0
"""Surface distance that still counts as agreement: one voxel of the small preset's grid."""


def evaluate(work: Workplace, weights: StateDict) -> SiteReply:
    """Predict, keep predictions and every score at the site, report means over cases and structures."""
    model = work.model(ModelName.SEGMENTER, weights)
    folder = work.site.workspace / "evaluation" / work.order.row
    folder.mkdir(parents=True, exist_ok=True)
    labels = dict(enumerate(work.order.label_names[1:], start=1))
    scores: dict[str, dict[str, StructureScore]] = {}
    cases = test_cases(work.site, work.config.grid, work.state)
    for case, files in zip(cases, test_files(work.site), strict=True):
        raise_if_stopped()
        probabilities = label_probabilities(model, case.image, work.config)
        prediction = restore_to_scan(probabilities, case)
        save_volume(folder / f"{case.case_id}.nii.gz", prediction, dtype="uint8")
        reference = load_label_map(files)
        scores[case.case_id] = score_case(
            prediction.voxels,
            reference.voxels,
            labels,
            prediction.spacing_mm,
            tolerance_mm=NSD_TOLERANCE_MM,
        )
    report = {case: {name: dataclasses.asdict(score) for name, score in rows.items()} for case, rows in scores.items()}
    with replaced_atomically(folder / "scores.json") as draft:
        draft.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    least = work.config.exchange.min_cases_for_statistics
    return SiteReply(num_examples=len(cases), metrics=summary(scores, least=least))


def summary(scores: Mapping[str, Mapping[str, StructureScore]], *, least: int) -> dict[str, float]:
    """Means over cases of means over structures; distances only where they are defined, with the count of the rest.

    Args:
        scores: By case and structure.
        least: A mean that is defined for fewer cases, though there are more, would be about single ones: it is left
            out. Where there are fewer cases altogether, the site's gate has its word.
    """
    rows = [list(case.values()) for case in scores.values()]
    dice = [_mean([score.dice for score in row]) for row in rows]
    hd95 = [_mean([score.hd95_mm for score in row]) for row in rows]
    undefined = sum(score.hd95_mm is None for row in rows for score in row)
    wanted = max(1, min(least, len(rows)))
    means = {"dice": _mean(dice, wanted=wanted), "hd95-mm": _mean(hd95, wanted=wanted), "undefined": float(undefined)}
    return {key: value for key, value in means.items() if value is not None}


def _mean(values: list[float | None], *, wanted: int = 1) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) >= wanted else None
