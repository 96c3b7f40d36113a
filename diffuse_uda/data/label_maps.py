"""Label maps as classes: whole numbers from 0 without gaps, whatever stands in the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.data.scan_checks import classes_of
from diffuse_uda.data.volumes import Volume, load_volume

MAX_CLASS = 255
"""Classes are kept as uint8."""


def load_label_map(files: CaseFiles) -> Volume:
    """Read the label map of a case as classes.

    Args:
        files: A case with a label map; its `label_values` say what stands there for every class.

    Returns:
        A uint8 volume: 0 is the background, structures count from 1 in the order of their values.

    Raises:
        BrokenRuleError: If the file cannot be read, or holds a value that is no class.
        ValueError: If the case has no label map.
    """
    if files.label_map is None:
        msg = "this case has no label map"
        raise ValueError(msg)
    return read_classes(files.label_map, files.label_values)


def read_classes(path: Path, values: Sequence[int]) -> Volume:
    """Read a label map as classes; `values` as in `CaseFiles.label_values`."""
    drawn = load_volume(path)
    return Volume(voxels=renumbered(classes_of(drawn.voxels), values), affine_mm=drawn.affine_mm)


def renumbered(labels: npt.NDArray[Any], values: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Put the number of its class in the place of every value.

    Args:
        labels: Integers of any shape.
        values: What stands for class 0, 1, 2, ..., ascending; empty where values are the classes themselves.

    Returns:
        Classes of the same shape.

    Raises:
        BrokenRuleError: If a label is none of the values, or does not fit a uint8.
    """
    if not values:
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest > MAX_CLASS:
            raise BrokenRuleError(
                "label-outside-map",
                found=f"labels from {lowest} to {highest}",
                wanted=f"labels from 0 to {MAX_CLASS}",
                fix="renumber the label map",
            )
        return labels.astype(np.uint8)
    known = np.asarray(values)
    classes = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    odd = known[classes] != labels
    if bool(odd.any()):
        raise BrokenRuleError(
            "label-outside-map",
            found=f"label {int(labels[odd][0])} in {int(np.count_nonzero(odd))} voxels",
            wanted=f"only the labels of dataset.json: {list(values)}",
        )
    return classes.astype(np.uint8)
