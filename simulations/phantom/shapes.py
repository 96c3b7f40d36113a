"""Implicit shapes and smooth random fields, as functions of points in millimetres.

A shape is a function that is negative inside, positive outside, and near its surface about the signed distance in
mm. Then union is `minimum`, intersection is `maximum`, and "t mm further in" is `shape + t`.

Everything works in float32: half a voxel is 1e3 times its rounding error, and it halves the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
"""One number for each point."""

Points = tuple[Field, Field, Field]
"""Coordinates x (to the right), y (to the front), z (to the top) in mm, each with one number for each point."""

Vector = tuple[float, float, float]
"""x, y and z in mm."""


def ellipsoid(points: Points, *, centre_mm: Vector, radii_mm: Vector) -> Field:
    """Approximate signed distance to an ellipsoid, exact on its surface and for a sphere.

    With g(p) = |p / r|, the value is g (g - 1) / |p / r^2|: the first-order distance of Taubin (1994, "Distance
    approximations for rasterizing implicit curves"), f / |grad f|, scaled so that it doesn't vanish at the centre.
    """
    inverse = [np.float32(1.0 / radius) for radius in radii_mm]
    scaled = [
        (axis - np.float32(centre)) * factor for axis, centre, factor in zip(points, centre_mm, inverse, strict=True)
    ]
    level = np.sqrt(sum_of_squares(scaled))
    slope = np.sqrt(sum_of_squares([axis * factor for axis, factor in zip(scaled, inverse, strict=True)]))
    # At the very centre both vanish; the limit is minus the smallest radius.
    centre_value = -np.float32(min(radii_mm))
    return np.where(slope > 1e-6, level * (level - 1.0) / np.maximum(slope, np.float32(1e-6)), centre_value)


def tube(points: Points, *, start_mm: Vector, end_mm: Vector, start_radius_mm: float, end_radius_mm: float) -> Field:
    """Distance to the segment from start to end, less a radius that changes linearly along it."""
    start, end = np.asarray(start_mm, np.float32), np.asarray(end_mm, np.float32)
    axis = end - start
    offsets = [coordinate - origin for coordinate, origin in zip(points, start, strict=True)]
    along = sum_of_products(offsets, [np.float32(step) for step in axis]) / np.float32(axis @ axis)
    along = np.clip(along, 0.0, 1.0)
    away = [offset - along * step for offset, step in zip(offsets, axis, strict=True)]
    radius = np.float32(start_radius_mm) + along * np.float32(end_radius_mm - start_radius_mm)
    distance: Field = np.sqrt(sum_of_squares(away)) - radius
    return distance


def smooth_union(first: Field, second: Field, *, blend_mm: float) -> Field:
    """Union whose crease is rounded over about `blend_mm`: the quadratic smooth minimum.

    It is never above `min(first, second)` and at most `blend_mm / 4` below it.
    """
    overlap = np.maximum(np.float32(blend_mm) - np.abs(first - second), 0.0)
    union: Field = np.minimum(first, second) - overlap * overlap / np.float32(4.0 * blend_mm)
    return union


def sum_of_squares(parts: Sequence[Field]) -> Field:
    """Add the squares of equally shaped fields."""
    return sum_of_products(parts, parts)


def sum_of_products(parts: Sequence[Field], factors: Sequence[Field | np.float32]) -> Field:
    """Add the products of fields with as many factors, each a field or a number."""
    total: Field = np.multiply(parts[0], factors[0])
    for part, factor in zip(parts[1:], factors[1:], strict=True):
        total += part * factor
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Waves:
    """A smooth random field of zero mean and unit variance: a sum of plane waves.

    Random wave vectors, phases and equal amplitudes give, for many waves, a Gaussian random field whose spectrum is
    that of the vectors (Shinozuka and Deodatis 1991, "Simulation of stochastic processes by spectral
    representation"). It needs no grid, so a subject looks the same at every voxel size.
    """

    vectors_per_mm: npt.NDArray[np.float32]
    """Angular wave vectors, waves x 3."""
    phases: npt.NDArray[np.float32]

    def __call__(self, points: Points) -> Field:
        """Evaluate the field at the points."""
        total = np.zeros_like(points[0])
        for vector, phase in zip(self.vectors_per_mm, self.phases, strict=True):
            argument = self._argument(points, vector, phase)
            total += np.cos(argument, out=argument)
        return total * self._amplitude

    def with_gradient(self, points: Points) -> tuple[Field, Points]:
        """Evaluate the field and its gradient per mm at the points."""
        total, x, y, z = (np.zeros_like(points[0]) for _ in range(4))
        for vector, phase in zip(self.vectors_per_mm, self.phases, strict=True):
            argument = self._argument(points, vector, phase)
            total += np.cos(argument)
            slope = np.sin(argument, out=argument)
            x -= vector[0] * slope
            y -= vector[1] * slope
            z -= vector[2] * slope
        return total * self._amplitude, (x * self._amplitude, y * self._amplitude, z * self._amplitude)

    @property
    def _amplitude(self) -> np.float32:
        """A cosine has a variance of one half."""
        return np.float32(np.sqrt(2.0 / len(self.phases)))

    @staticmethod
    def _argument(points: Points, vector: npt.NDArray[np.float32], phase: np.float32) -> Field:
        argument = sum_of_products(points, list(vector))
        argument += phase
        return argument


def draw_waves(rng: np.random.Generator, *, num_waves: int, wavelengths_mm: tuple[float, float]) -> Waves:
    """Draw isotropic waves whose lengths are uniform between the two given."""
    directions = rng.normal(size=(num_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wavelengths = rng.uniform(*wavelengths_mm, size=(num_waves, 1))
    return Waves(
        vectors_per_mm=(2.0 * np.pi * directions / wavelengths).astype(np.float32),
        phases=rng.uniform(0.0, 2.0 * np.pi, size=num_waves).astype(np.float32),
    )
