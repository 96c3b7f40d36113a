"""What a site's scans are like in nine numbers: enough to choose a grid that all sites can work on.

Medians over the site's training scans, with three significant digits: nothing of a single scan can be told from them
where there are several. No label map is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from nibabel.orientations import io_orientation

from diffuse_uda.data.normalise import foreground_mask
from diffuse_uda.data.volumes import Volume

DIGITS = 3
_RANGE_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """Nine numbers about one site."""

    spacing_mm: tuple[float, float, float]
    """Median distance between voxel centres towards R, A and S."""
    extent_mm: tuple[float, float, float]
    """Median field of view towards R, A and S."""
    lowest: float
    """Median over the scans of the 0.5th percentile of the body, in the scans' own unit."""
    highest: float
    """Median over the scans of the 99.5th percentile of the body."""
    memory_gib: float
    """Memory that a training step may take there, rounded down to whole GiB (below one: to a tenth)."""

    def numbers(self) -> dict[str, float]:
        """Everything in it, by name: what leaves the site."""
        named: dict[str, float] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                named |= {
                    f"{field.name}.{axis}": float(number) for axis, number in zip(("r", "a", "s"), value, strict=True)
                }
            else:
                named[field.name] = float(value)
        return {name.replace("_", "-"): number for name, number in named.items()}


_ONE = Fingerprint(spacing_mm=(1, 1, 1), extent_mm=(1, 1, 1), lowest=0, highest=1, memory_gib=1)
NAMES = tuple(_ONE.numbers())
"""Names of the numbers, in their order."""


def from_numbers(numbers: Sequence[float]) -> Fingerprint:
    """Put a fingerprint together from its numbers in the order of `NAMES`.

    Raises:
        ValueError: If they are not as many, not finite, or a length is not positive.
    """
    if len(numbers) != len(NAMES) or not all(map(math.isfinite, numbers)):
        msg = f"a fingerprint of {len(numbers)} numbers, wanted the {len(NAMES)} finite ones {NAMES}"
        raise ValueError(msg)
    found = Fingerprint(
        spacing_mm=_triple(numbers[0:3]),
        extent_mm=_triple(numbers[3:6]),
        lowest=float(numbers[6]),
        highest=float(numbers[7]),
        memory_gib=float(numbers[8]),
    )
    if min(*found.spacing_mm, *found.extent_mm, found.memory_gib) <= 0 or found.highest <= found.lowest:
        msg = f"a fingerprint that no scans have: {found}"
        raise ValueError(msg)
    return found


def take_fingerprint(scans: Iterable[Volume], *, memory_bytes: int) -> Fingerprint:
    """Measure a site's scans, one at a time.

    Args:
        scans: Training scans as they were acquired; at least one.
        memory_bytes: Free for a training step.

    Raises:
        ValueError: If there are no scans.
    """
    measured = np.array(list(_measured(scans)), dtype=np.float64)
    if not len(measured):
        msg = "no scans: there is nothing to take a fingerprint of"
        raise ValueError(msg)
    medians = [_rounded(float(value)) for value in np.median(measured, axis=0)]
    gib = memory_bytes / 2**30
    memory = math.floor(gib) if gib >= 1 else math.floor(10 * gib) / 10
    return from_numbers([*medians, max(memory, 0.1)])


def _measured(scans: Iterable[Volume]) -> Iterator[npt.NDArray[np.float64]]:
    for scan in scans:
        to_ras = np.argsort(io_orientation(scan.affine_mm)[:, 0])
        spacing = np.linalg.norm(scan.affine_mm[:3, :3], axis=0)
        extent = spacing * np.asarray(scan.shape)
        body = scan.voxels[foreground_mask(scan.voxels)]
        yield np.concatenate([spacing[to_ras], extent[to_ras], np.percentile(body, _RANGE_PERCENTILES)])


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _triple(numbers: Sequence[float]) -> tuple[float, float, float]:
    r, a, s = numbers
    return float(r), float(a), float(s)
