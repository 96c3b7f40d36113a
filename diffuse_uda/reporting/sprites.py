"""A scan as pictures of many slices: one sheet a plane for the scan, one a plane and structure for what was found.

A browser shows a slice by drawing one tile of a sheet. The scan is an 8-bit JPEG, a structure a PNG of one bit and one
colour, so that a page can switch it off, fade it, or draw its outline, without reading a pixel.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from PIL import Image

from diffuse_uda.reporting.grey import as_grey
from diffuse_uda.reporting.palette import structure_colour
from diffuse_uda.reporting.planes import Plane

AnyArray = npt.NDArray[Any]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one after the last along right, anterior and superior."""

OUTLINE = "#FFFFFF"
"""Of what somebody has drawn."""
TILES_ACROSS = 8

_JPEG_QUALITY = 85
_JPEG_BLOCK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class SpriteLimits:
    """What bounds the bytes of a case."""

    max_slices: int = 48
    """In every plane."""
    max_tile_px: int = 224
    """Along the longer side of a slice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaneSheets:
    """One plane of one case."""

    plane: Plane
    slices: tuple[int, ...]
    """Voxel of the RAS+ volume that each tile cuts, ascending."""
    start: int
    """Which of them to show first."""
    tile_px: tuple[int, int]
    """Width and height of a tile."""
    pitch_px: tuple[int, int]
    """From the corner of a tile to that of the next one: tiles begin where blocks of the JPEG do."""
    size_mm: tuple[float, float]
    """Width and height that a tile shows."""
    scan: bytes
    """JPEG."""
    found: Mapping[int, bytes]
    """PNG by structure; structures without a voxel are left out."""
    drawn: Mapping[int, bytes]
    """The reference's, where there is one."""


def cut_sheets(
    plane: Plane,
    image: AnyArray,
    label_maps: tuple[AnyArray, AnyArray | None],
    *,
    box: Box,
    centre: Sequence[int],
    spacing_mm: tuple[float, float, float],
    window: tuple[float, float],
    limits: SpriteLimits,
) -> PlaneSheets:
    """Cut one plane of a RAS+ volume into sheets.

    Args:
        plane: Which one.
        image: Shape (right, anterior, superior).
        label_maps: What was found and, if somebody has, what was drawn, of the same shape.
        box: The part that is shown.
        centre: Voxel whose slices are among those shown, and are shown first.
        spacing_mm: Between voxel centres along right, anterior, superior.
        window: Intensities shown black and white.
        limits: What bounds the bytes.
    """
    axis = plane.fixed_axis
    across, up = (other for other in range(3) if other != axis)
    slices = chosen_slices(*box[axis], centre[axis], most=limits.max_slices)
    columns, rows = (box[other][1] - box[other][0] for other in (across, up))
    scale = min(1.0, limits.max_tile_px / max(columns, rows))
    tile = (max(1, round(columns * scale)), max(1, round(rows * scale)))

    def tiles(volume: AnyArray) -> list[AnyArray]:
        return [_slice(volume, plane, index, box) for index in slices]

    found, drawn = label_maps
    pitch = tuple(math.ceil(side / _JPEG_BLOCK) * _JPEG_BLOCK for side in tile)
    return PlaneSheets(
        plane=plane,
        slices=tuple(slices),
        start=slices.index(centre[axis]),
        tile_px=tile,
        pitch_px=(pitch[0], pitch[1]),
        size_mm=(columns * spacing_mm[across], rows * spacing_mm[up]),
        scan=_scan_sheet(tiles(image), tile, window),
        found=_structure_sheets(tiles(found), tile, structure_colour),
        drawn={} if drawn is None else _structure_sheets(tiles(drawn), tile, lambda _label: OUTLINE),
    )


def chosen_slices(first: int, end: int, wanted: int, *, most: int) -> list[int]:
    """Choose evenly spaced slices of [first, end), at most `most`, the wanted one among them."""
    step = max(1, math.ceil((end - first) / most))
    return list(range(first + (wanted - first) % step, end, step))


def thumbnail(image: AnyArray, found: AnyArray, *, aspect: float, window: tuple[float, float], side_px: int) -> bytes:
    """Draw one slice with what was found, small.

    Args:
        image: Shape (row, column).
        found: Classes of the same shape.
        aspect: Height of a pixel over its width.
        window: Intensities shown black and white.
        side_px: Length of the longer side.

    Returns:
        A JPEG.
    """
    grey = np.repeat(as_grey(image, window)[..., None], 3, axis=2).astype(np.float32)
    for label in np.unique(found[found > 0]):
        colour = np.array(to_rgb(structure_colour(int(label)))) * 255.0
        inside = found == label
        grey[inside] = 0.5 * grey[inside] + 0.5 * colour
    rows, columns = image.shape
    scale = side_px / max(columns, rows * aspect)
    size = (max(1, round(columns * scale)), max(1, round(rows * aspect * scale)))
    content = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.LANCZOS).save(content, "JPEG", quality=80)
    return content.getvalue()


def _slice(volume: AnyArray, plane: Plane, index: int, box: Box) -> AnyArray:
    """One slice as it is looked at: rows from the top, columns from the left (see `planes.take_plane`)."""
    place: list[int | slice] = [slice(*side) for side in box]
    place[plane.fixed_axis] = index
    picture: AnyArray = volume[tuple(place)].T[::-1, ::-1]
    return picture


def _scan_sheet(tiles: Sequence[AnyArray], tile: tuple[int, int], window: tuple[float, float]) -> bytes:
    pictures = [Image.fromarray(as_grey(picture, window)).resize(tile, Image.Resampling.BOX) for picture in tiles]
    content = io.BytesIO()
    Image.fromarray(_sheet([np.asarray(picture) for picture in pictures], tile)).save(
        content, "JPEG", quality=_JPEG_QUALITY, optimize=True
    )
    return content.getvalue()


def _structure_sheets(
    tiles: Sequence[AnyArray], tile: tuple[int, int], colour_of: Callable[[int], str]
) -> dict[int, bytes]:
    labels = sorted({int(label) for picture in tiles for label in np.unique(picture) if label > 0})
    return {
        label: _one_bit_png(_sheet([_mask(picture == label, tile) for picture in tiles], tile), colour_of(label))
        for label in labels
    }


def _mask(inside: AnyArray, tile: tuple[int, int]) -> AnyArray:
    """Half of a pixel's voxels decide, where a slice has more voxels than its tile has pixels."""
    picture = Image.fromarray(inside.astype(np.uint8) * 255)
    if picture.size != tile:
        picture = picture.resize(tile, Image.Resampling.BOX)
    return (np.asarray(picture) > 127).astype(np.uint8)


def _sheet(tiles: Sequence[AnyArray], tile: tuple[int, int]) -> AnyArray:
    """Put tiles beside and below each other, `TILES_ACROSS` in a row, each at the corner of a block."""
    width, height = (math.ceil(side / _JPEG_BLOCK) * _JPEG_BLOCK for side in tile)
    across = min(TILES_ACROSS, len(tiles))
    sheet = np.zeros((math.ceil(len(tiles) / across) * height, across * width), np.uint8)
    for number, picture in enumerate(tiles):
        top, left = number // across * height, number % across * width
        # The edge is repeated: a step to black would ring into the tile.
        framed = np.pad(picture, ((0, height - tile[1]), (0, width - tile[0])), mode="edge")
        sheet[top : top + height, left : left + width] = framed
    return sheet


def _one_bit_png(mask: AnyArray, colour: str) -> bytes:
    picture = Image.fromarray(mask, mode=None)
    picture = picture.convert("P") if picture.mode != "P" else picture
    picture.putpalette([0, 0, 0, *(round(255 * part) for part in to_rgb(colour))])
    content = io.BytesIO()
    picture.save(content, "PNG", bits=1, transparency=0, optimize=True)
    return content.getvalue()
