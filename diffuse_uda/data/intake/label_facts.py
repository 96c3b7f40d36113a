"""Numbers about one label map, which tell more when seen beside those of other cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.intake.scan_facts import sample, sample_steps
from diffuse_uda.data.volumes import Volume

MIN_SAMPLES = 5
"""Of a structure, for a mean to say anything."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFacts:
    """What is known of one label map, without one voxel of it."""

    values: tuple[int, ...] = ()
    """Labels that occur, ascending."""
    num_labelled: int = 0
    """Voxels that are not background."""
    num_specks: int = 0
    """Voxels without a face neighbour of the same label: lone ones, and holes of one voxel."""
    brightness: Mapping[int, float] = field(default_factory=dict)
    """Mean intensity of the scan by label, background left out."""
    right_mm: Mapping[int, float] = field(default_factory=dict)
    """Mean place of a label towards the patient's right, in world mm."""
    ends: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Area of the outermost labelled slice, of the largest one, along right, anterior, superior; ends at the scan's own
    faces do not count."""


def describe_labels(
    classes: Array, values: npt.NDArray[np.int64], scan: Volume, few_voxels: Array, towards: Array
) -> LabelFacts:
    """Measure a label map that passed `check_label_map`.

    Args:
        classes: Integers, of the scan's shape.
        values: Those that occur, ascending.
        scan: The scan it belongs to.
        few_voxels: A `sample` of the scan.
        towards: Where the scan's axes grow towards, see `axis_directions`.
    """
    labelled = classes != 0
    # Whole slices must lie together in memory, which is along k in what comes from a file.
    areas = _areas(labelled) if labelled.flags.c_contiguous else _areas(labelled.T)[::-1]
    few, steps = sample(classes), sample_steps(classes.shape)
    index = _numbered(few.ravel(), values)
    counts = np.bincount(index, minlength=values.size)
    brightness = np.bincount(index, weights=few_voxels.ravel(), minlength=values.size)
    right_mm = np.bincount(index, weights=_right_mm(few.shape, steps, scan.affine_mm), minlength=values.size)
    told = [n for n, value in enumerate(values) if value != 0 and counts[n] >= MIN_SAMPLES]
    ends = [_end(of_axis) for of_axis in areas]
    return LabelFacts(
        values=tuple(int(value) for value in values),
        num_labelled=int(areas[0].sum()),
        num_specks=_specks(classes[_box(areas)]),
        brightness={int(values[n]): float(brightness[n] / counts[n]) for n in told},
        right_mm={int(values[n]): float(right_mm[n] / counts[n]) for n in told},
        ends=tuple(ends[int(axis)] for axis in np.argsort(towards[:, 0])),
    )


def _numbered(labels: Array, values: npt.NDArray[np.int64]) -> Array:
    """Place of every label among the values; a table is several times faster than a search."""
    if int(values[0]) < 0 or int(values[-1]) > labels.size:
        return np.searchsorted(values, labels)
    table = np.zeros(int(values[-1]) + 1, dtype=np.int64)
    table[values] = np.arange(values.size)
    numbered: Array = table[labels]
    return numbered


def _right_mm(shape: tuple[int, ...], steps: tuple[int, ...], affine_mm: npt.NDArray[np.float64]) -> Array:
    along = [
        affine_mm[0, axis] * step * np.arange(size) for axis, (size, step) in enumerate(zip(shape, steps, strict=True))
    ]
    right_mm: Array = affine_mm[0, 3] + along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]
    return right_mm.ravel()


def _areas(labelled: Array) -> list[Array]:
    """Labelled voxels of every slice along each axis; whole slices are counted many times faster than single lines."""
    across_i = np.add.reduce(labelled.view(np.uint8), axis=0, dtype=np.uint32)
    along_i = np.array([np.count_nonzero(plane) for plane in labelled], dtype=np.int64)
    return [along_i, across_i.sum(axis=1, dtype=np.int64), across_i.sum(axis=0, dtype=np.int64)]


def _box(areas: Sequence[Array]) -> tuple[slice, ...]:
    """The box around everything that is labelled, and one voxel more: outside of it there is nothing but background."""
    box = []
    for of_axis in areas:
        where = np.flatnonzero(of_axis)
        box.append(slice(max(0, int(where[0]) - 1), int(where[-1]) + 2) if where.size else slice(0, 0))
    return tuple(box)


def _end(areas: Array) -> float:
    where = np.flatnonzero(areas)
    if where.size == 0:
        return 0.0
    inside = [int(areas[n]) for n in (where[0], where[-1]) if 0 < n < areas.size - 1]
    return round(max(inside, default=0) / int(areas.max()), 3)


def _specks(classes: Array) -> int:
    has_neighbour = np.zeros_like(classes, dtype=np.bool_)
    for axis in range(3):
        low: list[slice] = [slice(None)] * 3
        high: list[slice] = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        is_same = classes[tuple(low)] == classes[tuple(high)]
        has_neighbour[tuple(low)] |= is_same
        has_neighbour[tuple(high)] |= is_same
    return int(has_neighbour.size - np.count_nonzero(has_neighbour))
