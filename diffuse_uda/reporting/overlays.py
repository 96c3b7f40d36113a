"""A case in three planes: the scan, the reference, and what every method made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
from diffuse_uda.reporting.sheet import (
    Cell,
    add_legend,
    blank_sheet,
    fill_structures,
    outline_structures,
    place_scan,
    sheet_bytes,
    write_letters,
    write_title,
)
from diffuse_uda.reporting.views import CaseView
from diffuse_uda.types import Spacing, Triple

MARGIN_MM = 12.0
"""What is shown around the structures."""
_COLUMN_PX = 210
_LEGEND_PX = 34
_TITLE_PX = 44
_GAP_PX = 4

_LabelMap = npt.NDArray[Any]


def render_case(case: CaseView, label_names: Sequence[str]) -> bytes:
    """Draw one case: a column for the scan, the reference and every method, a row for every plane.

    A prediction is filled with the structures' colours; the reference lies over it as a white line, so that what is
    missing is an empty outline and what is too much is colour outside of one.

    Args:
        case: Scan, reference and predictions.
        label_names: Classes, background first.

    Returns:
        A PNG.
    """
    affine_mm = case.image.affine_mm
    image, spacing_mm = turn_to_ras(case.image.voxels, affine_mm), ras_spacing_mm(affine_mm)
    reference = None if case.reference is None else turn_to_ras(case.reference, affine_mm)
    predictions = {row: turn_to_ras(label_map, affine_mm) for row, label_map in case.predictions.items()}
    cut = _common_cut(reference, list(predictions.values()), image.shape, spacing_mm)
    columns: list[tuple[str, _LabelMap | None, _LabelMap | None]] = [("Scan", None, None)]
    if reference is not None:
        columns.append(("Reference", reference, None))
    columns += [(_title(case, row), label_map, reference) for row, label_map in predictions.items()]
    heights = {plane: _height_px(plane, cut, spacing_mm) for plane in Plane}
    width_px = len(columns) * (_COLUMN_PX + _GAP_PX) + _GAP_PX
    sheet = blank_sheet(width_px, round(_TITLE_PX + sum(heights.values()) + _GAP_PX * len(heights)) + _LEGEND_PX)
    black, white = grey_window(image)
    top = float(_TITLE_PX)
    for plane, height in heights.items():
        picture, aspect = take_plane(image, plane, cut), pixel_aspect(plane, spacing_mm)
        for column, (title, fill, outline) in enumerate(columns):
            left = _GAP_PX + column * (_COLUMN_PX + _GAP_PX)
            cell = Cell(left=left, top=top, width=_COLUMN_PX, height=height)
            place = place_scan(sheet, cell, picture, aspect=aspect, black=black, white=white)
            if fill is not None:
                fill_structures(sheet, place, take_plane(fill, plane, cut))
            if outline is not None:
                outline_structures(sheet, place, take_plane(outline, plane, cut))
            if top == _TITLE_PX:
                write_title(sheet, cell, title, font_size=9)
            if column == 0:
                write_letters(sheet, cell, plane)
        top += height + _GAP_PX
    add_legend(sheet, label_names, has_outline=reference is not None)
    return sheet_bytes(sheet)


def _common_cut(
    reference: _LabelMap | None, predictions: list[_LabelMap], shape: tuple[int, ...], spacing_mm: Spacing
) -> Cut:
    shown = reference if reference is not None else predictions[-1] if predictions else np.zeros(shape, np.uint8)
    right, anterior, superior = (round(MARGIN_MM / step) for step in spacing_mm)
    margin: Triple = (right, anterior, superior)
    return find_cut(shown, margin=margin)


def _title(case: CaseView, row: str) -> str:
    dice = case.dice.get(row)
    return f"{row_name(row)}\n" + ("Dice not defined" if dice is None else f"Dice {dice:.3f}")


def _height_px(plane: Plane, cut: Cut, spacing_mm: Spacing) -> float:
    across, up = (axis for axis in range(3) if axis != plane.fixed_axis)
    size_mm: list[float] = [(part.stop - part.start) * step for part, step in zip(cut.window, spacing_mm, strict=True)]
    # A long, flat scan must not make a figure of many screens.
    return _COLUMN_PX * min(max(size_mm[up] / size_mm[across], 0.4), 2.0)
