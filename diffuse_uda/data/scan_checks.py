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
MIN_VOXELS = 3
"""Along every axis: less is a slice, of which no three-dimensional network can learn."""
_MANY_VALUES = 64
_FEW = 16
_COUNTABLE = 4096
"""Labels below this are counted; sorting all voxels to find the values takes several times as long."""


def check_image(image: Volume) -> None:
    """Refuse a scan that no network can learn from.

    Raises:
        BrokenRuleError: If a voxel is not finite, there is no contrast, or it is no more than a slice.
    """
    _require_finite(image.voxels, "image")
    if min(image.shape) < MIN_VOXELS:
        raise BrokenRuleError("too-few-slices", found=f"{image.shape} voxels")
    lowest, highest = image.voxels.min(), image.voxels.max()
    some = image.voxels[::4, ::4, ::4]
    if bool(((some != lowest) & (some != highest)).any()):  # a third value, found without a look at all voxels
        return
    two_values = (image.voxels == lowest) | (image.voxels == highest)
    if bool(two_values.all()):
        found = f"only the values {lowest:g} and {highest:g}" if highest > lowest else f"every voxel is {lowest:g}"
        raise BrokenRuleError("constant-image", found=found)


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
        found = f"{_counted(far)}, the first is {voxels[_first(far)]:g}"
        raise BrokenRuleError("non-integer-labels", found=found)
    return rounded.astype(np.int64)


def check_label_map(
    label_map: Volume, image: Volume | None, labels: Collection[int]
) -> tuple[npt.NDArray[np.int64], list[BrokenRuleError]]:
    """Check a label map against its scan and the label values of the centre.

    Args:
        label_map: As read.
        image: The scan it belongs to; None if that could not be read.
        labels: Known values; nothing is compared with an empty collection.

    Returns:
        The values that occur, ascending, and the broken rules.
    """
    broken: list[BrokenRuleError] = []
    if image is not None:
        broken += _check_grids(image, label_map)
        if _is_same(image, label_map):
            broken.append(BrokenRuleError("label-map-is-an-image", found="the voxels of the scan itself"))
            return np.zeros(0, dtype=np.int64), broken
    try:
        classes = classes_of(label_map.voxels)
    except BrokenRuleError as rule:
        return np.zeros(0, dtype=np.int64), [*broken, rule]
    values = values_of(classes)
    if values.size > _MANY_VALUES and values.size > 2 * len(labels):
        found = f"{values.size} different values from {values[0]} to {values[-1]}"
        broken.append(BrokenRuleError("label-map-is-an-image", found=found))
        return values, broken
    broken.extend(_check_values(classes, values, labels))
    return values, broken


def values_of(classes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The different integers of an array, ascending."""
    lowest, highest = int(classes.min()), int(classes.max())
    if lowest >= 0 and highest < _FEW:  # asked for one by one: a comparison takes a tenth of counting
        return np.array([value for value in range(lowest, highest + 1) if bool((classes == value).any())], np.int64)
    if lowest >= 0 and highest < _COUNTABLE:
        return np.flatnonzero(np.bincount(classes.ravel(order="K"))).astype(np.int64)
    return np.unique(classes).astype(np.int64)


def is_anisotropic(image: Volume) -> bool:
    """Whether voxels are so elongated that three-dimensional networks lose their meaning."""
    return max(image.spacing_mm) > MAX_ANISOTROPY * min(image.spacing_mm)


def _check_grids(image: Volume, label_map: Volume) -> list[BrokenRuleError]:
    if image.shape == label_map.shape and np.array_equal(image.affine_mm, label_map.affine_mm):
        return []
    try:
        require_same_grid(image, label_map)
    except GeometryError as error:
        if image.shape != label_map.shape:
            return [BrokenRuleError("shape-differs", found=str(error))]
        if image.orientation != label_map.orientation:
            return [BrokenRuleError("orientation-differs", found=str(error))]
        return [BrokenRuleError("place-differs", found=str(error))]
    return []


def _is_same(image: Volume, label_map: Volume) -> bool:
    """Whether both hold the same numbers; a few of them tell almost every time."""
    if image.shape != label_map.shape:
        return False
    few = (slice(None, None, 8),) * 3
    return np.array_equal(image.voxels[few], label_map.voxels[few]) and np.array_equal(image.voxels, label_map.voxels)


def _check_values(
    classes: npt.NDArray[Any], values: npt.NDArray[np.int64], labels: Collection[int]
) -> list[BrokenRuleError]:
    broken = []
    negative = [int(value) for value in values if value < 0]
    outside = [int(value) for value in values if value >= 0 and value not in labels]
    if negative:
        broken.append(BrokenRuleError("negative-label", found=f"{negative} in {_counted(classes < 0)}"))
    if outside and labels:
        broken.append(
            BrokenRuleError(
                "label-outside-map",
                found=f"{outside} in {_counted(np.isin(classes, outside))}",
                wanted=f"only the labels of dataset.json: {sorted(labels)}",
            )
        )
    return broken


def _require_finite(voxels: npt.NDArray[Any], what: str) -> None:
    if voxels.dtype.kind != "f" or bool(np.isfinite(voxels).all()):
        return
    is_nan = np.isnan(voxels)
    if bool(is_nan.any()):
        raise BrokenRuleError("nan-voxels", found=f"NaN in {_counted(is_nan)} of the {what}")
    raise BrokenRuleError("infinite-voxels", found=f"infinity in {_counted(np.isinf(voxels))} of the {what}")


def _counted(where: npt.NDArray[np.bool_]) -> str:
    count = int(np.count_nonzero(where))
    return f"{count} voxel{'s' if count > 1 else ''}, first at (i, j, k) = {_first(where)}"


def _first(where: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(where.argmax()), where.shape))
