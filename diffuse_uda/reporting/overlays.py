"""A case in three planes: the scan, the reference, and what every method made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from skimage.measure import find_contours

from diffuse_uda.reporting.canvas import LIGHT_INK, bare, dark_figure, png_bytes
from diffuse_uda.reporting.palette import structure_colour
from diffuse_uda.reporting.planes import (
    Cut,
    Plane,
    find_cut,
    grey_window,
    pixel_aspect,
    ras_spacing_mm,
    take_plane,
    turn_to_ras,
)
from diffuse_uda.reporting.rows import row_name
from diffuse_uda.reporting.views import CaseView
from diffuse_uda.types import Triple

MARGIN_MM = 12.0
"""What is shown around the structures."""
_COLUMN_PX = 210
_LEGEND_PX = 34
_TITLE_PX = 44
_GAP_PX = 4


def render_case(case: CaseView, label_names: Sequence[str]) -> bytes:
    """Draw one case: a column for the scan, the reference and every method, a row for every plane.

    A prediction is filled with the structures' colours; the reference lies over it as a white line, so that what is missing
    is an empty outline and what is too much is colour outside of one.

    Args:
        case: Scan, reference and predictions.
        label_names: Classes, background first.

    Returns:
        A PNG.
    """
    affine_mm = case.image.affine_mm
    image = turn_to_ras(case.image.voxels, affine_mm)
    reference = None if case.reference is None else turn_to_ras(case.reference, affine_mm)
    filled = {row: turn_to_ras(label_map, affine_mm) for row, label_map in case.predictions.items()}
    spacing_mm = ras_spacing_mm(affine_mm)
    cut = _common_cut(reference, list(filled.values()), image.shape, spacing_mm)
    columns: list[tuple[str, npt.NDArray[Any] | None, npt.NDArray[Any] | None]] = [("Scan", None, None)]
    if reference is not None:
        columns.append(("Reference", reference, None))
    columns += [(_title(case, row), label_map, reference) for row, label_map in filled.items()]
    heights = [_plane_height_px(plane, cut, spacing_mm) for plane in Plane]
    figure, grid = _grid(heights, len(columns))
    black, white = grey_window(image)
    for line, plane in enumerate(Plane):
        picture, aspect = take_plane(image, plane, cut), pixel_aspect(plane, spacing_mm)
        for column, (title, fill, outline) in enumerate(columns):
            axes = grid[line][column]
            draw_scan(axes, picture, aspect=aspect, black=black, white=white)
            if fill is not None:
                fill_structures(axes, take_plane(fill, plane, cut))
            if outline is not None:
                outline_structures(axes, take_plane(outline, plane, cut))
            if line == 0:
                axes.set_title(title, color=LIGHT_INK, fontsize=9, pad=5, linespacing=1.25)
            if column == 0:
                write_letters(axes, plane)
    add_legend(figure, label_names, has_outline=reference is not None)
    return png_bytes(figure)


def _common_cut(
    reference: npt.NDArray[Any] | None,
    predictions: list[npt.NDArray[Any]],
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
) -> Cut:
    shown = reference if reference is not None else predictions[-1] if predictions else np.zeros(shape, np.uint8)
    right, anterior, superior = (round(MARGIN_MM / step) for step in spacing_mm)
    margin: Triple = (right, anterior, superior)
    return find_cut(shown, margin=margin)


def _title(case: CaseView, row: str) -> str:
    dice = case.dice.get(row)
    return f"{row_name(row)}\n" + ("Dice not defined" if dice is None else f"Dice {dice:.3f}")


def _plane_height_px(plane: Plane, cut: Cut, spacing_mm: tuple[float, float, float]) -> float:
    across, up = (axis for axis in range(3) if axis != plane.fixed_axis)
    size_mm = [(part.stop - part.start) * step for part, step in zip(cut.window, spacing_mm, strict=True)]
    # A long, flat scan must not make a figure of many screens.
    return _COLUMN_PX * min(max(size_mm[up] / size_mm[across], 0.4), 2.0)


def _grid(heights_px: list[float], num_columns: int) -> tuple[Figure, list[list[Axes]]]:
    width = num_columns * (_COLUMN_PX + _GAP_PX) + _GAP_PX
    height = _TITLE_PX + sum(heights_px) + _GAP_PX * len(heights_px) + _LEGEND_PX
    figure = dark_figure(round(width), round(height))
    rows: list[list[Axes]] = []
    top = height - _TITLE_PX
    for height_px in heights_px:
        bottom = top - height_px
        boxes = [
            (
                (_GAP_PX + column * (_COLUMN_PX + _GAP_PX)) / width,
                bottom / height,
                _COLUMN_PX / width,
                height_px / height,
            )
            for column in range(num_columns)
        ]
        rows.append([figure.add_axes(box) for box in boxes])
        top = bottom - _GAP_PX
    return figure, rows


def draw_scan(axes: Axes, picture: npt.NDArray[Any], *, aspect: float, black: float, white: float) -> None:
    """Draw grey voxels, and fix the limits so that nothing drawn later moves them."""
    axes.imshow(picture, cmap="gray", vmin=black, vmax=white, aspect=aspect, interpolation="bicubic")
    axes.autoscale(enable=False)
    bare(axes)


def fill_structures(axes: Axes, label_picture: npt.NDArray[Any], *, alpha: float = 0.55) -> None:
    """Colour the structures of one plane."""
    for label, border in _borders(label_picture):
        colour = structure_colour(label)
        axes.add_artist(PathPatch(border, facecolor=(colour, alpha), edgecolor=colour, linewidth=0.9))


def outline_structures(axes: Axes, label_picture: npt.NDArray[Any], *, colour: str = "white") -> None:
    """Draw the borders of the structures of one plane."""
    for _, border in _borders(label_picture):
        axes.add_artist(PathPatch(border, facecolor="none", edgecolor=colour, linewidth=0.8))


def _borders(label_picture: npt.NDArray[Any]) -> Iterator[tuple[int, Path]]:
    for label in np.unique(label_picture):
        if label:
            # A frame of background closes the borders of what touches the edge. Holes run the other way round than
            # what they are in, so one path per structure fills rightly.
            framed = np.pad(label_picture == label, 1).astype(np.float32)
            loops = [Path(loop[:, ::-1] - 1.0, closed=True) for loop in find_contours(framed, 0.5)]
            yield int(label), Path.make_compound_path(*loops)


def write_letters(axes: Axes, plane: Plane) -> None:
    """Write at the edges of a picture what lies in that direction."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    anchors = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (horizontal, vertical) in zip(plane.letters, places, anchors, strict=True):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            color=LIGHT_INK,
            fontsize=8,
            weight="bold",
            path_effects=[withStroke(linewidth=2.0, foreground="black")],
        )


def add_legend(figure: Figure, label_names: Sequence[str], *, has_outline: bool) -> None:
    """Name the colours at the lower edge of a figure."""
    handles = [Patch(facecolor=structure_colour(label), label=name) for label, name in enumerate(label_names) if label]
    if has_outline:
        handles.append(Patch(facecolor="none", edgecolor="white", label="reference outline"))
    figure.legend(
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
