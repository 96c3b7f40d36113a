"""One object in the patient, scanned along every order and direction of axes, straight or oblique."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.volumes import Volume

ORDERS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
"""All 48 ways in which i, j, k can run along R, A, S."""
Order = tuple[tuple[int, ...], tuple[int, ...]]

Place = tuple[float, ...]


def rotation(degrees: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Rotations about R, A and S, one after the other."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


def scan(order: Order, degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Volume:
    """The object of 7 x 6 x 5 voxels of 2 x 3 x 4 mm (towards R, A, S), read out in some order of axes.

    Tissue of 100 and 200 in an erased background, a block of 235 and one of 300 off the centre: no flip leaves it as it
    is.
    """
    voxels = np.random.default_rng(0).choice([100, 200], (7, 6, 5)).astype(np.int16)
    voxels[:, :, :3:2] = 0
    voxels[1:3, 1:2, 1:3] = 235
    voxels[5, 3:5, 4] = 300
    affine_mm = np.eye(4)
    affine_mm[:3, :3] = rotation(degrees) @ np.diag([2.0, 3.0, 4.0])
    affine_mm[:3, 3] = (-11.5, 20.25, 7.0)
    axes, signs = order
    turned, index = voxels.transpose(axes), np.zeros((4, 4))
    index[3, 3] = 1.0
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        index[old, new] = sign
        index[old, 3] = 0 if sign > 0 else voxels.shape[old] - 1
        turned = turned if sign > 0 else np.flip(turned, axis=new)
    return Volume(voxels=np.ascontiguousarray(turned), affine_mm=affine_mm @ index)


def places(voxels: npt.NDArray[Any], affine_mm: npt.NDArray[Any]) -> dict[Place, int]:
    """Where in the patient (mm, RAS+, to a hundredth) which class is; background left out."""
    found: dict[Place, int] = {}
    for index in np.argwhere(voxels):
        place = affine_mm[:3, :3] @ index + affine_mm[:3, 3]
        found[tuple(float(np.round(x, 2)) + 0.0 for x in place)] = int(voxels[tuple(index)])
    return found
