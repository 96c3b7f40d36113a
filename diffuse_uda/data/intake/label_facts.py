"""Numbers about one label map, which tell more when seen beside those of other cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nibabel as nib
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


def describe_labels(classes: Array, values: npt.NDArray[np.int64], scan: Volume) -> LabelFacts:
    """Measure a label map that passed `check_label_map`.

    Args:
        classes: Integers, of the scan's shape.
        values: Those that occur, ascending.
        scan: The scan it belongs to.
    """
    labelled = classes != 0
    counts_ij = labelled.sum(axis=2, dtype=np.int32)
    few, steps = sample(classes), sample_steps(classes.shape)
    index = np.searchsorted(values, few.ravel())
    counts = np.bincount(index, minlength=values.size)
    brightness = np.bincount(index, weights=sample(scan.voxels).ravel(), minlength=values.size)
    right_mm = np.bincount(index, weights=_right_mm(few.shape, steps, scan.affine_mm), minlength=values.size)
    told = [n for n, value in enumerate(values) if value != 0 and counts[n] >= MIN_SAMPLES]
    ends = [_end(counts_ij.sum(axis=1)), _end(counts_ij.sum(axis=0)), _end(labelled.sum(axis=(0, 1), dtype=np.int64))]
    towards = nib.io_orientation(scan.affine_mm)[:, 0].astype(int)
    return LabelFacts(
        values=tuple(int(value) for value in values),
        num_labelled=int(counts_ij.sum(dtype=np.int64)),
        num_specks=_specks(classes),
        brightness={int(values[n]): float(brightness[n] / counts[n]) for n in told},
        right_mm={int(values[n]): float(right_mm[n] / counts[n]) for n in told},
        ends=tuple(ends[int(axis)] for axis in np.argsort(towards)),
    )


def _right_mm(shape: tuple[int, ...], steps: tuple[int, ...], affine_mm: npt.NDArray[np.float64]) -> Array:
    along = [
        affine_mm[0, axis] * step * np.arange(size) for axis, (size, step) in enumerate(zip(shape, steps, strict=True))
    ]
    right_mm: Array = affine_mm[0, 3] + along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]
    return right_mm.ravel()


def _end(areas: Array) -> float:
    where = np.flatnonzero(areas)
    if where.size == 0:
        return 0.0
    inside = [int(areas[n]) for n in (where[0], where[-1]) if 0 < n < areas.size - 1]
    return round(max(inside, default=0) / int(areas.max()), 3)


def _specks(classes: Array) -> int:
    has_neighbour = np.zeros(classes.shape, dtype=np.bool_)
    for axis in range(3):
        low: list[slice] = [slice(None)] * 3
        high: list[slice] = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        is_same = classes[tuple(low)] == classes[tuple(high)]
        has_neighbour[tuple(low)] |= is_same
        has_neighbour[tuple(high)] |= is_same
    return int(has_neighbour.size - np.count_nonzero(has_neighbour))
