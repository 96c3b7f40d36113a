"""Nine numbers about a site's scans."""

from __future__ import annotations

import numpy as np
import pytest

from diffuse_uda.data.fingerprint import NAMES, from_numbers, take_fingerprint
from diffuse_uda.data.volumes import Volume

GIB = 2**30


def _scan(shape: tuple[int, int, int], spacing: tuple[float, float, float], *, top: float = 100.0) -> Volume:
    """A quarter of erased background, and tissue from 1 to `top` in equal steps."""
    voxels = np.zeros(shape, dtype=np.float32)
    inside = voxels[: 3 * shape[0] // 4]
    inside[...] = np.linspace(1.0, top, inside.size, dtype=np.float32).reshape(inside.shape)
    return Volume(voxels=voxels, affine_mm=np.diag([*spacing, 1.0]))


def test_lengths_are_medians_over_the_scans_with_three_digits() -> None:
    scans = [_scan((8, 10, 6), (1.0, 1.2345, 5.0)), _scan((8, 10, 6), (2.0, 1.2345, 5.0)), _scan((8, 10, 6), (9, 1, 5))]
    found = take_fingerprint(scans, memory_bytes=int(7.9 * GIB))
    assert found.spacing_mm == (2.0, 1.23, 5.0)
    assert found.extent_mm == (16.0, 12.3, 30.0)
    assert found.memory_gib == 7.0


def test_axes_are_those_of_the_patient_whatever_the_order_in_the_file() -> None:
    plain = _scan((8, 10, 6), (1.0, 2.0, 3.0))
    turned = Volume(voxels=plain.voxels.transpose(2, 0, 1), affine_mm=plain.affine_mm[:, [2, 0, 1, 3]])
    first, second = (take_fingerprint([scan], memory_bytes=GIB) for scan in (plain, turned))
    assert first == second
    assert first.spacing_mm == (1.0, 2.0, 3.0)


def test_intensities_are_those_of_the_body() -> None:
    found = take_fingerprint([_scan((8, 10, 6), (1, 1, 1), top=1000.0)], memory_bytes=GIB)
    assert found.lowest == pytest.approx(1 + 0.005 * 999, rel=0.01)
    assert found.highest == pytest.approx(1 + 0.995 * 999, rel=0.01)


def test_little_memory_is_told_in_tenths() -> None:
    assert take_fingerprint([_scan((8, 10, 6), (1, 1, 1))], memory_bytes=GIB // 3).memory_gib == 0.3


def test_there_are_nine_numbers_and_they_come_back() -> None:
    found = take_fingerprint([_scan((8, 10, 6), (1, 1, 1))], memory_bytes=GIB)
    assert tuple(found.numbers()) == NAMES
    assert len(NAMES) == 9
    assert from_numbers(list(found.numbers().values())) == found


@pytest.mark.parametrize(
    "numbers",
    [
        [],
        [1.0] * 8,
        [1, 1, 1, 1, 1, 1, 0, float("nan"), 1],
        [0, 1, 1, 1, 1, 1, 0, 1, 1],
        [1, 1, 1, 1, 1, 1, 5, 5, 1],
        [1, 1, 1, 1, 1, 1, 0, 1, 0],
    ],
)
def test_numbers_that_no_scans_have_are_refused(numbers: list[float]) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        from_numbers(numbers)


def test_no_scans_have_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="no scans"):
        take_fingerprint([], memory_bytes=GIB)
