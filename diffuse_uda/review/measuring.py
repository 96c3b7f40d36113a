"""One case: its segmentation, on the disk, and what that says about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffuse_uda.algorithms.label_free_quality import Doubt, agreement, doubt_inside, num_islands
from diffuse_uda.algorithms.turning import turned
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.cases import PreparedCase, prepare_case, restore_to_scan
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.data.scan_checks import check_image, classes_of
from diffuse_uda.data.volumes import Volume, load_volume, require_same_grid, save_volume
from diffuse_uda.review.scans import ReviewScan
from diffuse_uda.training.inference import predict_both_ways, predict_probabilities, second_by_intensities
from diffuse_uda.training.prediction import LoadedSegmenter

TURN_DEGREES = 8.0
"""How far the scan is turned for another view: as far as people lie turned in a scanner."""
METHOD = 2
"""Counts up when measuring changes, so that kept measures are made anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureSigns:
    """What one structure says about itself; None where nothing can be said."""

    volume_ml: float
    num_islands: int
    confidence: float | None = None
    entropy: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredCase:
    """A segmentation on the disk and its signs."""

    scan: ReviewScan
    prediction: Path
    prediction_sha256: str
    structures: Mapping[int, StructureSigns]
    """By label, from 1."""


def measure(
    scan: ReviewScan,
    num_classes: int,
    folder: Path,
    segmenter: LoadedSegmenter | None,
    *,
    model_sha256: str = "",
) -> MeasuredCase:
    """Segment a case, unless that has been done, and measure what can be measured without a reference.

    What was found out is kept beside the predictions, so that a report that is made again takes seconds. It is made
    anew if the scan, the prediction or the model is another one.

    Args:
        scan: What to look at; its `prediction` is taken as it is.
        num_classes: Classes, background included.
        folder: Gets `predictions/` and `measures/`; private to this account.
        segmenter: Makes what is not there, and says how sure it is; without one only what is there can be shown.
        model_sha256: Of the segmenter's weights.

    Raises:
        BrokenRuleError: If the scan or its prediction cannot be used.
        GeometryError: If the prediction lies on another grid.
    """
    given = scan.prediction
    made = folder / "predictions" / f"{scan.case_id}.nii.gz"
    shown = given or made
    kept = folder / "measures" / f"{scan.case_id}.json"
    key = _key(scan, model_sha256, num_classes)
    if (known := _known(kept, key, shown)) is not None:
        return MeasuredCase(scan=scan, prediction=shown, **known)
    answers: _Answers | None = None
    doubts: dict[int, Doubt] = {}
    if segmenter is None:
        label_map = _given(scan, num_classes)
    else:
        with torch.inference_mode():
            label_map, answers, doubts = _answers(scan, segmenter, num_classes)
        if given is None:
            save_volume(made, label_map, dtype="uint8")
            made.chmod(0o600)
    voxel_ml = abs(float(np.linalg.det(label_map.affine_mm[:3, :3]))) / 1000.0
    structures = {
        label: StructureSigns(
            volume_ml=float(np.count_nonzero(label_map.voxels == label)) * voxel_ml,
            num_islands=num_islands(label_map.voxels, label),
            agreement=None if answers is None else _agreement(answers, label),
            **asdict(doubts.get(label, Doubt(confidence=None, entropy=None))),
        )
        for label in range(1, num_classes)
    }
    digest = sha256_of(shown)
    content = {
        "key": key,
        "prediction_sha256": digest,
        "structures": {str(label): asdict(signs) for label, signs in structures.items()},
    }
    with replaced_atomically(kept, mode=0o600) as draft:
        draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return MeasuredCase(scan=scan, prediction=shown, prediction_sha256=digest, structures=structures)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answers:
    """What a network says to one scan in several views, and what is shown of it if that came from elsewhere."""

    views: tuple[npt.NDArray[Any], ...]
    """Classes on the working grid, the plain view first."""
    shown: tuple[npt.NDArray[Any], ...] = ()
    """Classes on the scan's grid: what is shown, then what the network would have shown."""


def _agreement(answers: _Answers, label: int) -> float | None:
    known = [
        value
        for label_maps in (answers.views, answers.shown)
        if len(label_maps) > 1 and (value := agreement(label_maps, label)) is not None
    ]
    return sum(known) / len(known) if known else None


def _answers(
    scan: ReviewScan, segmenter: LoadedSegmenter, num_classes: int
) -> tuple[Volume, _Answers, dict[int, Doubt]]:
    grid, compute = segmenter.config.grid, segmenter.config.compute
    files = CaseFiles(case_id=scan.case_id, image=scan.image, label_map=None)
    case: PreparedCase = prepare_case(files, grid.spacing_mm, grid.patch_size)
    plain, mirrored = predict_both_ways(segmenter.model, case.image, grid, compute)
    other = turned(case.image, degrees=TURN_DEGREES, spacing_mm=grid.spacing_mm)
    back = turned(
        predict_probabilities(segmenter.model, other, grid, compute), degrees=-TURN_DEGREES, spacing_mm=grid.spacing_mm
    )
    back[0] += 1.0 - back.sum(dim=0)  # what came in from outside is background
    answer = second_by_intensities((plain + mirrored) / 2, case.image, segmenter.config)
    views = tuple(map(_classes, (plain, mirrored, back)))
    own = restore_to_scan(answer, case)
    if scan.prediction is None:
        return own, _Answers(views=views), doubt_inside(answer)
    given = _given(scan, num_classes)
    return given, _Answers(views=views, shown=(given.voxels, own.voxels)), doubt_inside(answer)


def _classes(probabilities: Tensor) -> npt.NDArray[Any]:
    label_map: npt.NDArray[Any] = probabilities.argmax(dim=0).to(torch.uint8).numpy()
    return label_map


def _given(scan: ReviewScan, num_classes: int) -> Volume:
    """A segmentation that was there already, if it fits the scan and the classes."""
    if scan.prediction is None:
        raise BrokenRuleError(
            "no-prediction",
            found="no segmentation of this scan, and no model to make one",
            wanted="one of the two",
            fix="name a model with --model, or a folder that has it with --predictions",
        )
    image = load_volume(scan.image)
    check_image(image)
    label_map = load_volume(scan.prediction)
    require_same_grid(image, label_map)
    classes = classes_of(label_map.voxels)
    if int(classes.min()) < 0 or int(classes.max()) >= num_classes:
        raise BrokenRuleError(
            "label-outside-map",
            found=f"labels from {int(classes.min())} to {int(classes.max())} in {scan.prediction.name}",
            wanted=f"labels from 0 to {num_classes - 1}",
            fix="take the segmentations of this model, or the dataset.json that they belong to",
        )
    return Volume(voxels=classes.astype(np.uint8), affine_mm=label_map.affine_mm)


def _key(scan: ReviewScan, model_sha256: str, num_classes: int) -> str:
    """What measures follow from: the scan's file, what is shown, the model."""
    status = scan.image.stat() if scan.image.exists() else None
    facts = [METHOD, model_sha256, num_classes, str(scan.image.resolve()), scan.prediction is not None]
    facts += [] if status is None else [status.st_size, status.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _known(kept: Path, key: str, shown: Path) -> dict[str, Any] | None:
    """Measures of an earlier report, if they are whole and about this very segmentation."""
    try:
        said = json.loads(kept.read_text(encoding="utf-8"))
        if said["key"] != key or said["prediction_sha256"] != sha256_of(shown):
            return None
        structures = {int(label): StructureSigns(**signs) for label, signs in said["structures"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {"prediction_sha256": said["prediction_sha256"], "structures": structures}
