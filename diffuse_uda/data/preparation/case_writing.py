"""One case from its source to the files of a centre folder: voxels and affine, and nothing else of what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.preparation.plan import PlannedCase
from diffuse_uda.data.scan_checks import classes_of
from diffuse_uda.data.volumes import Volume, require_same_grid, save_volume
from diffuse_uda.errors import Finding, GeometryError

_KEPT_TYPES = tuple(np.dtype(name) for name in ("u1", "i2", "u2", "i4", "f4"))


@dataclass(frozen=True, kw_only=True, slots=True)
class WritingTask:
    """All that a process needs for one case."""

    centre: str
    case: PlannedCase
    class_of: Mapping[int, int]
    image_file: Path
    label_file: Path


def write_case(task: WritingTask) -> Finding | None:
    """Load a case and write its files; only this one case is in memory.

    The scan is neither cropped nor normalised, so no label can have a say in what a network will see of it.

    Returns:
        None, or what is wrong with the case; then none of its files is there.
    """
    listed = task.case.listed
    try:
        image = listed.image.load()
        label_map = None if listed.label_map is None else listed.label_map.load(image)
        classes = None if label_map is None else classes_on(image, label_map, task.class_of)
        save_volume(task.image_file, image, dtype=_stored_type(image.voxels))
        if classes is not None:
            save_volume(task.label_file, classes, dtype=np.uint8)
    except BrokenRuleError as rule:
        task.image_file.unlink(missing_ok=True)
        return rule.at(centre=task.centre, case=listed.case_id, file=str(listed.place))
    return None


def classes_on(image: Volume, label_map: Volume, class_of: Mapping[int, int]) -> Volume:
    """Renumber a label map.

    Args:
        image: The scan that it must lie on.
        label_map: As its format stores it.
        class_of: Number to class.

    Returns:
        Classes from 0 on, uint8, with the scan's affine to the last bit.

    Raises:
        BrokenRuleError: If it lies elsewhere, or has a number that is not in `class_of`, or is no label map at all.
    """
    try:
        require_same_grid(image, label_map)
    except GeometryError as error:
        raise BrokenRuleError(
            "shape-differs" if image.shape != label_map.shape else "place-differs",
            found=str(error),
            wanted="the same voxels in the same place",
            fix="resample the label map onto the scan's grid, in the tool that drew it",
        ) from error
    numbers = classes_of(label_map.voxels)
    present, where = np.unique(numbers, return_inverse=True)
    unknown = [int(number) for number in present if int(number) not in class_of]
    if unknown:
        raise BrokenRuleError(
            "label-outside-map",
            found=f"{unknown[:10]} in the label map ({len(unknown)} unknown of {present.size} numbers)",
            wanted=f"only {sorted(class_of)}",
            fix="name the structure (--label NAME=NUMBER), or correct the label map",
        )
    table = np.array([class_of[int(number)] for number in present], dtype=np.uint8)
    return Volume(voxels=table[where.reshape(numbers.shape)], affine_mm=image.affine_mm)


def _stored_type(voxels: npt.NDArray[Any]) -> np.dtype[Any]:
    """The scan's own type where common tools read it, else one that holds every value."""
    if voxels.dtype in _KEPT_TYPES:
        return voxels.dtype
    if voxels.dtype.kind == "f":
        return np.dtype("f4")
    lowest, highest = int(voxels.min()), int(voxels.max())
    return next(
        (kind for kind in _KEPT_TYPES[:-1] if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max),
        np.dtype("f8"),
    )
