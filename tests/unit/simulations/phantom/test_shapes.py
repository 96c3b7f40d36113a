from __future__ import annotations

import numpy as np
import pytest

from simulations.phantom.shapes import Points, Waves, draw_waves, ellipsoid, smooth_union, tube


def at(*points: tuple[float, float, float]) -> Points:
    x, y, z = np.asarray(points, np.float32).T
    return x, y, z


def test_the_distance_to_a_sphere_is_exact() -> None:
    points = at((13, 0, 0), (0, 6, 0), (1, 2, 3))

    distance = ellipsoid(points, centre_mm=(1, 2, 3), radii_mm=(10, 10, 10))

    # (13, 0, 0) is sqrt(144 + 4 + 9) from the centre, (0, 6, 0) is sqrt(1 + 16 + 9) from it.
    np.testing.assert_allclose(distance, [np.sqrt(157) - 10, np.sqrt(26) - 10, -10], atol=1e-4)


def test_an_ellipsoid_ends_at_its_radii() -> None:
    tips = at((5, 0, 0), (0, 20, 0), (0, 0, -8))

    distance = ellipsoid(tips, centre_mm=(0, 0, 0), radii_mm=(5, 20, 8))

    np.testing.assert_allclose(distance, 0, atol=1e-5)


def test_a_tube_is_as_far_as_its_axis_less_its_radius() -> None:
    beside_the_middle, beyond_the_end = (5.0, 7.0, 0.0), (14.0, 0.0, 0.0)

    distance = tube(
        at(beside_the_middle, beyond_the_end), start_mm=(0, 0, 0), end_mm=(10, 0, 0), start_radius_mm=4, end_radius_mm=2
    )

    # 7 mm from the axis where the radius is 3 mm; 4 mm from the end whose radius is 2 mm.
    np.testing.assert_allclose(distance, [4, 2], atol=1e-5)


def test_a_smooth_union_is_the_union_except_near_its_crease() -> None:
    first = np.array([0.0, 0.0, 3.0], np.float32)
    second = np.array([0.0, 9.0, -4.0], np.float32)

    union = smooth_union(first, second, blend_mm=4.0)

    # Where both are equal it lies a quarter of the blend below; 7 mm or more apart there is no crease.
    np.testing.assert_allclose(union, [-1.0, 0.0, -4.0], atol=1e-6)


def test_one_wave_is_a_cosine_of_unit_variance() -> None:
    wave = Waves(vectors_per_mm=np.array([[2 * np.pi / 8, 0, 0]], np.float32), phases=np.zeros(1, np.float32))

    values = wave(at((0, 5, 5), (2, 0, 0), (4, 0, 0)))

    # A wavelength of 8 mm: crest, zero, trough; the amplitude sqrt(2) makes the variance 1.
    np.testing.assert_allclose(values, [np.sqrt(2), 0, -np.sqrt(2)], atol=1e-5)


def test_random_waves_have_zero_mean_and_unit_variance() -> None:
    rng = np.random.default_rng(0)
    points: Points = tuple(rng.uniform(-500, 500, (3, 20_000)).astype(np.float32))

    values = draw_waves(rng, num_waves=30, wavelengths_mm=(20, 30))(points)

    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1.0, abs=0.03)


def test_random_waves_have_the_wavelengths_asked_for() -> None:
    waves = draw_waves(np.random.default_rng(1), num_waves=100, wavelengths_mm=(20, 30))

    wavelengths = 2 * np.pi / np.linalg.norm(waves.vectors_per_mm, axis=1)

    assert wavelengths.min() >= 19.99
    assert wavelengths.max() <= 30.01


def test_the_gradient_of_waves_is_that_of_small_steps() -> None:
    waves = draw_waves(np.random.default_rng(2), num_waves=10, wavelengths_mm=(30, 40))
    points = at((1, 2, 3), (-20, 10, 5))
    step = np.float32(0.05)

    values, gradient = waves.with_gradient(points)

    np.testing.assert_allclose(values, waves(points), atol=1e-6)
    for axis in range(3):
        ahead, behind = list(points), list(points)
        ahead[axis], behind[axis] = points[axis] + step, points[axis] - step
        slope = (waves((ahead[0], ahead[1], ahead[2])) - waves((behind[0], behind[1], behind[2]))) / (2 * step)
        np.testing.assert_allclose(gradient[axis], slope, atol=2e-4)
