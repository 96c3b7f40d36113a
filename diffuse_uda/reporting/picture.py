"""The picture of the README, drawn by the program itself: every target on a line, every method in a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from diffuse_uda.reporting.canvas import LIGHT_INK, plain_text
from diffuse_uda.reporting.pairs import draw_pair
from diffuse_uda.reporting.planes import (
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
    write_title,
)
from diffuse_uda.reporting.views import CaseView, PairView

WIDTH_PX = 1600
HEIGHT_PX = 700
SHOWN_ROWS = ("source-only", "asc-plus", "diffuse-uda")

_FONT_SIZE = 11
_LEFT_PX = 34
_BETWEEN_PX = 30
_TOP_PX = 4
_TITLE_PX = 28
_LEGEND_PX = 38
_GAP_PX = 5
_NUM_CASE_COLUMNS = len(SHOWN_ROWS) + 2


def render_picture(cases: Sequence[CaseView], pairs: Mapping[str, PairView], label_names: Sequence[str]) -> bytes:
    """Draw an axial plane of one case a target: scan, source-only, ASC+, Diffuse-UDA, reference; then a synthetic pair.

    Args:
        cases: One held-out case for each target.
        pairs: One synthetic pair by target; targets without one leave the place empty.
        label_names: Classes, background first.

    Returns:
        A PNG of 1600 x 700 pixels.

    Raises:
        ValueError: If there is no case.
    """
    if not cases:
        msg = "a picture needs one case of at least one target"
        raise ValueError(msg)
    sheet = blank_sheet(WIDTH_PX, HEIGHT_PX)
    num_columns = _NUM_CASE_COLUMNS + (2 if pairs else 0)
    width = (WIDTH_PX - _LEFT_PX - (_BETWEEN_PX if pairs else 0)) / num_columns - _GAP_PX
    height = (HEIGHT_PX - _TOP_PX - _LEGEND_PX) / len(cases) - _TITLE_PX - _GAP_PX
    lefts = [
        _LEFT_PX + column * (width + _GAP_PX) + (_BETWEEN_PX if column >= _NUM_CASE_COLUMNS else 0)
        for column in range(num_columns)
    ]
    for line, case in enumerate(cases):
        top = _TOP_PX + line * (_TITLE_PX + height + _GAP_PX) + _TITLE_PX
        cells = [Cell(left=left, top=top, width=width, height=height) for left in lefts]
        _write_site(sheet, case.site_id, middle=top + height / 2)
        _draw_case(sheet, cells[:_NUM_CASE_COLUMNS], case)
        if case.site_id in pairs:
            _draw_synthetic(sheet, cells[-2], cells[-1], pairs[case.site_id])
    add_legend(sheet, label_names, has_outline=any(case.reference is not None for case in cases))
    return sheet_bytes(sheet)


def _write_site(sheet: Axes, site_id: str, *, middle: float) -> None:
    sheet.text(
        _LEFT_PX / 2,
        middle,
        plain_text(site_id),
        rotation=90,
        ha="center",
        va="center",
        color=LIGHT_INK,
        fontsize=_FONT_SIZE,
        weight="bold",
    )


def _draw_case(sheet: Axes, cells: Sequence[Cell], case: CaseView) -> None:
    affine_mm = case.image.affine_mm
    image = turn_to_ras(case.image.voxels, affine_mm)
    reference = None if case.reference is None else turn_to_ras(case.reference, affine_mm)
    predictions = {row: turn_to_ras(case.predictions[row], affine_mm) for row in SHOWN_ROWS if row in case.predictions}
    basis = reference if reference is not None else next(iter(predictions.values()), np.zeros(image.shape, np.bool_))
    cut = find_cut(basis, margin=(2, 2, 2))
    picture, aspect = take_plane(image, Plane.AXIAL, cut), pixel_aspect(Plane.AXIAL, ras_spacing_mm(affine_mm))
    black, white = grey_window(image)
    columns = [
        ("Scan", None),
        *((_title(case, row), predictions.get(row)) for row in SHOWN_ROWS),
        ("Reference", reference),
    ]
    for cell, (title, fill) in zip(cells, columns, strict=True):
        if fill is None and title != "Scan":
            continue
        place = place_scan(sheet, cell, picture, aspect=aspect, black=black, white=white)
        write_title(sheet, cell, title, font_size=_FONT_SIZE)
        if fill is not None:
            fill_structures(sheet, place, take_plane(fill, Plane.AXIAL, cut))
            if reference is not None and fill is not reference:
                outline_structures(sheet, place, take_plane(reference, Plane.AXIAL, cut))


def _title(case: CaseView, row: str) -> str:
    dice = case.dice.get(row)
    return row_name(row) if dice is None else f"{row_name(row)}  Dice {dice:.2f}"


def _draw_synthetic(sheet: Axes, image_cell: Cell, label_cell: Cell, pair: PairView) -> None:
    draw_pair(sheet, image_cell, label_cell, pair)
    write_title(sheet, image_cell, "Synthetic image", font_size=_FONT_SIZE)
    write_title(sheet, label_cell, "its label map", font_size=_FONT_SIZE)
