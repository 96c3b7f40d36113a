"""Facts of scans and label maps, in numbers that can be worked out by hand."""

from __future__ import annotations

import itertools
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from nibabel.eulerangles import euler2mat

from diffuse_uda.data.intake.label_facts import describe_labels
from diffuse_uda.data.intake.picture import SIDE_PX, picture_of
from diffuse_uda.data.intake.scan_facts import axis_directions, sample, sample_steps, turn_to_ras
from diffuse_uda.data.scan_checks import values_of
from diffuse_uda.data.volumes import Volume

ORDERS = [
    np.diag([*signs, 1.0])[:, [*order, 3]] @ np.diag([1.0, 2.0, 3.0, 1.0])
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1.0, 1.0), repeat=3)
]


@pytest.mark.parametrize("order", range(48))
def test_directions_and_turning_are_nibabels_for_all_48_axis_orders(order: int) -> None:
    tilt = np.eye(4)
    tilt[:3, :3] = euler2mat(0.1, 0.2, -0.15)
    for affine_mm in (ORDERS[order], tilt @ ORDERS[order]):
        expected = nib.io_orientation(affine_mm)
        np.testing.assert_array_equal(axis_directions(affine_mm), expected)
        voxels = np.arange(24).reshape(2, 3, 4)
        np.testing.assert_array_equal(turn_to_ras(voxels, expected), nib.apply_orientation(voxels, expected))


def test_samples_are_as_many_as_are_enough() -> None:
    assert sample_steps((24, 25, 512)) == (1, 2, 22)
    assert sample(np.zeros((24, 25, 512))).shape == (24, 13, 24)


@pytest.mark.parametrize("memory", ["C", "F"])
def test_a_label_map_is_counted_whatever_its_order_in_memory(memory: str) -> None:
    label_map = np.zeros((8, 8, 8), dtype=np.uint8)
    label_map[1:4, 2:6, 2:6] = 1  # 48 voxels
    label_map[5, 5, 5] = 2  # a speck
    label_map[2, 3, 3] = 0  # a hole of one voxel
    classes = np.asarray(label_map, order=memory)  # type: ignore[call-overload]
    scan = Volume(voxels=np.where(label_map == 1, 100, 7), affine_mm=np.diag([-2.0, 2.0, 2.0, 1.0]))
    facts = describe_labels(classes, values_of(classes), scan, sample(scan.voxels), axis_directions(scan.affine_mm))
    assert (facts.values, facts.num_labelled, facts.num_specks) == ((0, 1, 2), 48, 2)
    assert facts.brightness == {1: 100.0}
    # Indices 1, 2, 3 along i, of which index 2 has 15 voxels and the others 16: mean 94 / 47 = 2, at -2 mm each.
    assert facts.right_mm == {1: pytest.approx(-4.0)}
    # Along i the outermost slices have 16 and 1 voxels, 16 at most; along j and k 12 and 13 (with the speck) of 13.
    assert facts.ends == (1.0, 1.0, 1.0)


def test_different_values_are_found_in_every_range() -> None:
    for labels in ([0, 3, 3], [0, 205, 820], [-1, 0, 5], [0, 5000]):
        assert values_of(np.array(labels)).tolist() == sorted(set(labels))


def test_a_picture_is_three_planes_in_a_png_with_superior_on_top() -> None:
    voxels = np.zeros((8, 8, 8), dtype=np.int16)
    voxels[:, :, 6:] = 100  # bright at the top of the head
    content = picture_of(Volume(voxels=voxels, affine_mm=np.eye(4)), axis_directions(np.eye(4)))
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (3 * SIDE_PX, SIDE_PX)
    start = content.index(b"IDAT") + 4
    length = int.from_bytes(content[start - 8 : start - 4], "big")
    rows = np.frombuffer(zlib.decompress(content[start : start + length]), np.uint8).reshape(height, width + 1)[:, 1:]
    coronal = rows[:, SIDE_PX : 2 * SIDE_PX]
    assert (coronal[: SIDE_PX // 4] == 255).all()
    assert (coronal[SIDE_PX // 4 :] == 0).all()
