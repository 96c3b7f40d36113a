"""What one scan and one label map must satisfy, once they could be read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import Volume, require_same_grid
from diffuse_uda.errors import GeometryError

ROUNDING = 0.01
"""How far a label may be from an integer: label maps resaved as scaled floats come back as 0.996."""
MAX_ANISOTROPY = 10.0
_MANY_VALUES = 64


def check_image(image: Volume) -> None:
    """Refuse a scan that no network can learn from.

    Raises:
        BrokenRuleError: If a voxel is not finite, or there is no contrast.
    """
    _require_finite(image.voxels, "image")
    lowest, highest = image.voxels.min(), image.voxels.max()
    two_values = (image.voxels == lowest) | (image.voxels == highest)
    if bool(two_values.all()):
        found = f"only the values {lowest:g} and {highest:g}" if highest > lowest else f"every voxel is {lowest:g}"
        raise BrokenRuleError(
            "constant-image",
            found=found,
            wanted="a scan with contrast",
            fix="look at the scan; if it is a mask or an empty export, take the case out",
        )


def classes_of(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Round the voxels of a label map to integers, where they are integers in all but storage.

    Args:
        voxels: As read.

    Returns:
        The same array for integer types; int64 of the same shape for float types.

    Raises:
        BrokenRuleError: If a voxel is not finite or further than `ROUNDING` from an integer.
    """
    if voxels.dtype.kind in "iu":
        return voxels
    _require_finite(voxels, "label map")
    rounded: npt.NDArray[np.floating[Any]] = np.rint(voxels)
    far: npt.NDArray[np.bool_] = np.abs(voxels - rounded) > ROUNDING
    if bool(far.any()):
        raise BrokenRuleError(
            "non-integer-labels",
            found=f"{_counted(far)}, the first is {voxels[_first(far)]:g}",
            wanted=f"integers, at most {ROUNDING:g} off",
            fix="save the label map with an integer type, and resample it without interpolating labels",
        )
    return rounded.astype(np.int64)


def check_label_map(
    label_map: Volume, image: Volume | None, labels: Collection[int]
) -> tuple[npt.NDArray[np.int64], list[BrokenRuleError]]:
    """Check a label map against its scan and the classes of the centre.

    Args:
        label_map: As read.
        image: The scan it belongs to; None if that could not be read.
        labels: Known values; nothing is compared with an empty collection.

    Returns:
        The values that occur, ascending, and the broken rules.
    """
    broken: list[BrokenRuleError] = []
    if image is not None:
        try:
            require_same_grid(image, label_map)
        except GeometryError as error:
            broken.append(
                BrokenRuleError(
                    "grids-differ",
                    found=str(error),
                    wanted="the same voxels in the same place",
                    fix="resample the label map onto the scan's grid, in the tool that drew it",
                )
            )
        if image.shape == label_map.shape and np.array_equal(image.voxels, label_map.voxels):
            broken.append(_looks_like_an_image("the voxels of the scan itself"))
            return np.zeros(0, dtype=np.int64), broken
    try:
        classes = classes_of(label_map.voxels)
    except BrokenRuleError as rule:
        return np.zeros(0, dtype=np.int64), [*broken, rule]
    values = np.unique(classes).astype(np.int64)
    if values.size > _MANY_VALUES and values.size > 2 * len(labels):
        broken.append(_looks_like_an_image(f"{values.size} different values from {values[0]} to {values[-1]}"))
        return values, broken
    broken.extend(_check_values(classes, values, labels))
    return values, broken


def is_anisotropic(image: Volume) -> bool:
    """Whether voxels are so elongated that three-dimensional networks lose their meaning."""
    return max(image.spacing_mm) > MAX_ANISOTROPY * min(image.spacing_mm)


def _check_values(
    classes: npt.NDArray[Any], values: npt.NDArray[np.int64], labels: Collection[int]
) -> list[BrokenRuleError]:
    broken = []
    negative = [int(value) for value in values if value < 0]
    outside = [int(value) for value in values if value >= 0 and value not in labels]
    if negative:
        where = classes < 0
        broken.append(
            BrokenRuleError(
                "negative-label",
                found=f"{negative} in {_counted(where)}",
                wanted="labels from 0 on",
                fix="save the label map as unsigned integers; check for an overflow",
            )
        )
    if outside and labels:
        where = np.isin(classes, outside)
        broken.append(
            BrokenRuleError(
                "label-outside-map",
                found=f"{outside} in {_counted(where)}",
                wanted=f"only the labels of dataset.json: {sorted(labels)}",
                fix="add the structure to dataset.json, or correct the label map",
            )
        )
    return broken


def _looks_like_an_image(found: str) -> BrokenRuleError:
    return BrokenRuleError(
        "label-map-is-an-image",
        found=found,
        wanted="a label map",
        fix="looks like an image: put the segmentation there instead of a copy of a scan",
    )


def _require_finite(voxels: npt.NDArray[Any], what: str) -> None:
    if voxels.dtype.kind != "f":
        return
    odd = ~np.isfinite(voxels)
    if bool(odd.any()):
        raise BrokenRuleError(
            "non-finite-voxels",
            found=f"NaN or infinity in {_counted(odd)} of the {what}",
            wanted="finite numbers",
            fix="find the step that made them (a division, a registration); 0 is not always what was there",
        )


def _counted(where: npt.NDArray[np.bool_]) -> str:
    count = int(np.count_nonzero(where))
    return f"{count} voxel{'s' if count > 1 else ''}, first at (i, j, k) = {_first(where)}"


def _first(where: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(where.argmax()), where.shape))
