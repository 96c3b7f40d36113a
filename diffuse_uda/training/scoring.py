"""Scores of folders of label maps, for `diffuse-uda evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.algorithms.metrics import StructureScore, score_case
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dataset_json import read_description
from diffuse_uda.data.label_maps import renumbered
from diffuse_uda.data.volumes import load_volume, require_same_grid
from diffuse_uda.errors import Finding, GeometryError, InputError

NSD_TOLERANCE_MM = 2.0


def score_folders(
    predictions: Path, references: Path, labels: Path | None = None, *, tolerance_mm: float = NSD_TOLERANCE_MM
) -> dict[str, dict[str, StructureScore]]:
    """Score every prediction against the reference of the same name.

    Args:
        predictions: Folder of NIfTI label maps.
        references: Folder of NIfTI label maps; each prediction needs one, further ones are left alone.
        labels: `dataset.json` with the names of the classes; without it every value of the references is a class.
        tolerance_mm: Surface distance that counts as agreement in the NSD.

    Returns:
        Scores by case and structure; see `StructureScore` for empty masks.

    Raises:
        InputError: With every prediction that has no reference, lies on another grid, or cannot be read.
    """
    files = sorted(predictions.glob("*.nii*")) if predictions.is_dir() else []
    if not files:
        raise InputError([_finding(predictions, "no NIfTI file", "a folder of predicted label maps")])
    problems: list[Finding] = []
    named: dict[int, str] = {}
    if labels is not None:
        description, broken = read_description(labels)
        if broken:
            raise InputError([rule.at(centre="-", file=str(labels)) for rule in broken])
        named = dict(description.label_names)
    values = tuple(named)
    has_gaps = values != tuple(range(len(values)))
    scores: dict[str, dict[str, StructureScore]] = {}
    for file in files:
        reference_file = references / file.name
        if not reference_file.exists():
            problems.append(_finding(file, "no reference of this name", f"a file {file.name} in {references}"))
            continue
        try:
            prediction, reference = load_volume(file), load_volume(reference_file)
            require_same_grid(prediction, reference)
        except BrokenRuleError as error:
            problems.append(error.at(centre="-", case=file.name, file=str(file)))
            continue
        except GeometryError as error:
            problems.append(_finding(file, str(error), "prediction and reference on one grid"))
            continue
        predicted, drawn = np.rint(prediction.voxels), np.rint(reference.voxels)
        names = named if labels is not None else _values(drawn)
        if has_gaps:
            names = dict(enumerate(named.values()))
            predicted, drawn = _as_classes(predicted, values), _as_classes(drawn, values)
        structures = {value: name for value, name in names.items() if value != 0}
        scores[file.name.split(".nii")[0]] = score_case(
            predicted,
            drawn,
            structures,
            reference.spacing_mm,
            tolerance_mm=tolerance_mm,
        )
    if problems:
        raise InputError(problems)
    return scores


def _as_classes(labels: npt.NDArray[Any], values: tuple[int, ...]) -> npt.NDArray[Any]:
    """Classes of a label map whose `dataset.json` has gaps; label maps of this project are classes already."""
    return renumbered(labels.astype(np.int64), values) if bool(np.isin(labels, values).all()) else labels


def _values(voxels: npt.NDArray[Any]) -> dict[int, str]:
    return {int(value): f"class-{int(value)}" for value in np.unique(np.rint(voxels))}


def _finding(path: Path, found: str, wanted: str) -> Finding:
    return Finding(
        rule="evaluate",
        centre="-",
        case=path.name,
        file=str(path),
        found=found,
        wanted=wanted,
        fix="check both folders",
    )
