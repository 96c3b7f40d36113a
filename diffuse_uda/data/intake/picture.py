"""A small picture of a scan: its three middle planes, side by side, as a grey PNG."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.intake.scan_facts import turn_to_ras
from diffuse_uda.data.volumes import Volume

SIDE_PX = 72
"""Height and width of one plane; the longer side of the body fills it."""
_WINDOW = (1.0, 99.5)


def picture_of(scan: Volume, towards: npt.NDArray[Any]) -> bytes:
    """Draw the middle axial, coronal and sagittal plane; right is left, superior is up.

    Args:
        scan: Finite voxels with some contrast.
        towards: Where its axes grow towards, see `axis_directions`.

    Returns:
        A PNG of 216 x 72 pixels.
    """
    turned = turn_to_ras(scan.voxels, towards)
    spacing_mm = np.asarray(scan.spacing_mm)[np.argsort(towards[:, 0])]
    middle = [size // 2 for size in turned.shape]
    planes = [
        (turned[:, :, middle[2]], spacing_mm[[0, 1]]),
        (turned[:, middle[1], :], spacing_mm[[0, 2]]),
        (turned[middle[0], :, :], spacing_mm[[1, 2]]),
    ]
    shown = np.concatenate([plane[0].ravel() for plane in planes])
    black, white = np.percentile(shown, _WINDOW)
    sheet = np.zeros((SIDE_PX, 3 * SIDE_PX), dtype=np.uint8)
    for index, (plane, step_mm) in enumerate(planes):
        grey = np.clip((plane.astype(np.float64) - black) / max(float(white - black), 1e-12), 0.0, 1.0)
        cell = _fitted((grey * 255).astype(np.uint8).T[::-1, ::-1], step_mm)
        top, left = (SIDE_PX - cell.shape[0]) // 2, index * SIDE_PX + (SIDE_PX - cell.shape[1]) // 2
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return _png(sheet)


def _fitted(plane: npt.NDArray[Any], step_mm: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Nearest pixels of a plane, as large as a cell allows without distorting millimetres."""
    size_mm = np.array([plane.shape[0] * step_mm[1], plane.shape[1] * step_mm[0]])
    rows, columns = np.maximum(1, np.rint(size_mm / size_mm.max() * SIDE_PX)).astype(int)
    across = ((np.arange(columns) + 0.5) / columns * plane.shape[1]).astype(int)
    down = ((np.arange(rows) + 0.5) / rows * plane.shape[0]).astype(int)
    picture: npt.NDArray[Any] = plane[np.ix_(down, across)]
    return picture


def _png(grey: npt.NDArray[np.uint8]) -> bytes:
    """Encode 8-bit grey (PNG specification, third edition): the workers do without an imaging library."""
    height, width = grey.shape
    rows = np.concatenate([np.zeros((height, 1), dtype=np.uint8), grey], axis=1).tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
