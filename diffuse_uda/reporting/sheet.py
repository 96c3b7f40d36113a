"""A dark sheet of scans, laid out in pixels: one set of axes for all cells, because axes are what is slow to draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Affine2D
from skimage.measure import find_contours

from diffuse_uda.reporting.canvas import LIGHT_INK, dark_figure, plain_text, png_bytes
from diffuse_uda.reporting.palette import structure_colour
from diffuse_uda.reporting.planes import Plane


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A place on a sheet, in pixels from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


def blank_sheet(width_px: int, height_px: int) -> Axes:
    """Open a sheet whose coordinates are pixels, (0, 0) in the upper left corner."""
    sheet = dark_figure(width_px, height_px).add_axes((0, 0, 1, 1))
    sheet.set_axis_off()
    sheet.set_xlim(0, width_px)
    sheet.set_ylim(height_px, 0)
    sheet.autoscale(enable=False)
    return sheet


def place_scan(
    sheet: Axes, cell: Cell, picture: npt.NDArray[Any], *, aspect: float, black: float, white: float
) -> Affine2D:
    """Draw grey voxels as large as the cell allows, in its middle.

    Args:
        sheet: Where to draw.
        cell: The place.
        picture: Shape (row, column).
        aspect: Height of a pixel over its width.
        black: Intensity drawn black.
        white: Intensity drawn white.

    Returns:
        The way from (column, row) indices of the picture to the sheet, for what is drawn on top.
    """
    rows, columns = picture.shape
    scale = min(cell.width / columns, cell.height / (rows * aspect))
    width, height = columns * scale, rows * aspect * scale
    left, top = cell.left + (cell.width - width) / 2, cell.top + (cell.height - height) / 2
    image = AxesImage(
        sheet,
        cmap="gray",
        norm=Normalize(black, white),
        interpolation="bicubic",
        origin="upper",
        extent=(left, left + width, top + height, top),
    )
    image.set_data(picture)
    sheet.add_image(image)
    return Affine2D().translate(0.5, 0.5).scale(scale, scale * aspect).translate(left, top)


def fill_structures(sheet: Axes, place: Affine2D, label_picture: npt.NDArray[Any], *, alpha: float = 0.55) -> None:
    """Colour the structures of one plane."""
    for label, border in _borders(label_picture):
        colour = structure_colour(label)
        patch = PathPatch(place.transform_path(border), facecolor=(colour, alpha), edgecolor=colour, linewidth=0.9)
        sheet.add_artist(patch)


def outline_structures(sheet: Axes, place: Affine2D, label_picture: npt.NDArray[Any]) -> None:
    """Draw the borders of the structures of one plane as white lines."""
    for _, border in _borders(label_picture):
        patch = PathPatch(place.transform_path(border), facecolor="none", edgecolor="white", linewidth=0.8)
        sheet.add_artist(patch)


def _borders(label_picture: npt.NDArray[Any]) -> Iterator[tuple[int, Path]]:
    for label in np.unique(label_picture):
        if label:
            # A frame of background closes the borders of what touches the edge. Holes run the other way round than
            # what they are in, so one path per structure fills rightly.
            framed = np.pad(label_picture == label, 1).astype(np.float32)
            loops = [Path(loop[:, ::-1] - 1.0, closed=True) for loop in find_contours(framed, 0.5)]
            yield int(label), Path.make_compound_path(*loops)


def write_title(sheet: Axes, cell: Cell, text: str, *, font_size: float) -> None:
    """Write above a cell."""
    for index, line in enumerate(reversed(text.split("\n"))):
        # On the baseline: letters with a tail would lift their line otherwise.
        height = cell.top - 8 - 1.75 * font_size * index
        middle = cell.left + cell.width / 2
        sheet.text(middle, height, plain_text(line), ha="center", va="baseline", color=LIGHT_INK, fontsize=font_size)


def write_letters(sheet: Axes, cell: Cell, plane: Plane) -> None:
    """Write at the edges of a cell what lies in that direction of the body."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    anchors = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (horizontal, vertical) in zip(plane.letters, places, anchors, strict=True):
        sheet.text(
            cell.left + x * cell.width,
            cell.top + y * cell.height,
            letter,
            ha=horizontal,
            va=vertical,
            color=LIGHT_INK,
            fontsize=8,
            weight="bold",
            path_effects=[withStroke(linewidth=2.0, foreground="black")],
        )


def sheet_bytes(sheet: Axes) -> bytes:
    """Draw a sheet as a PNG."""
    return png_bytes(cast("Figure", sheet.figure))  # never a part of another figure


def add_legend(sheet: Axes, label_names: Sequence[str], *, has_outline: bool) -> None:
    """Name the colours at the lower edge of a sheet."""
    handles = [
        Patch(facecolor=structure_colour(label), label=plain_text(name))
        for label, name in enumerate(label_names)
        if label
    ]
    if has_outline:
        handles.append(Patch(facecolor="none", edgecolor="white", label="reference outline"))
    sheet.figure.legend(
        handles=handles,
        loc="lower center",
        ncols=max(1, len(handles)),
        frameon=False,
        labelcolor=LIGHT_INK,
        fontsize=8,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.4,
        borderaxespad=0.4,
    )
