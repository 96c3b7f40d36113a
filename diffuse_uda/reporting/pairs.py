"""Synthetic pairs beside real scans: does the generator render what the centre's scanner makes?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from diffuse_uda.reporting.canvas import LIGHT_INK
from diffuse_uda.reporting.planes import (
    Plane,
    find_cut,
    grey_window,
    pixel_aspect,
    ras_spacing_mm,
    take_plane,
    turn_to_ras,
)
from diffuse_uda.reporting.sheet import (
    Cell,
    add_legend,
    blank_sheet,
    fill_structures,
    place_scan,
    sheet_bytes,
    write_letters,
)
from diffuse_uda.reporting.views import PairsOfTarget, PairView

_CELL_WIDTH_PX = 170
_CELL_HEIGHT_PX = 204
_GAP_PX = 4
_BETWEEN_PX = 26
_TITLE_PX = 34
_LEGEND_PX = 34


def render_pairs(pairs: PairsOfTarget, label_names: Sequence[str]) -> bytes:
    """Draw the axial plane of real scans (left) and of synthetic pairs (right): image above, with its label map below.

    Args:
        pairs: Scans and pairs of one target.
        label_names: Classes, background first.

    Returns:
        A PNG.

    Raises:
        ValueError: If there is nothing to draw.
    """
    groups = [(title, views) for title, views in (("Real", pairs.real), ("Synthetic", pairs.synthetic)) if views]
    if not groups:
        msg = f"site {pairs.site_id!r}: no scan and no pair to draw; leave the figure out"
        raise ValueError(msg)
    step = _CELL_WIDTH_PX + _GAP_PX
    num_columns = sum(len(views) for _, views in groups)
    sheet = blank_sheet(
        num_columns * step + _GAP_PX + _BETWEEN_PX * (len(groups) - 1),
        _TITLE_PX + 2 * (_CELL_HEIGHT_PX + _GAP_PX) + _LEGEND_PX,
    )
    left = float(_GAP_PX)
    for title, views in groups:
        middle = left + (len(views) * step - _GAP_PX) / 2
        sheet.text(middle, _TITLE_PX / 2, title, ha="center", va="center", color=LIGHT_INK, fontsize=10, weight="bold")
        for view in views:
            upper = Cell(left=left, top=_TITLE_PX, width=_CELL_WIDTH_PX, height=_CELL_HEIGHT_PX)
            lower = Cell(
                left=left, top=upper.top + upper.height + _GAP_PX, width=_CELL_WIDTH_PX, height=_CELL_HEIGHT_PX
            )
            draw_pair(sheet, upper, lower, view)
            if left == _GAP_PX:
                write_letters(sheet, upper, Plane.AXIAL)
            left += step
        left += _BETWEEN_PX
    add_legend(sheet, label_names, has_outline=False)
    return sheet_bytes(sheet)


def draw_pair(sheet: Axes, image_cell: Cell, label_cell: Cell, view: PairView) -> None:
    """Draw an axial plane of the image, and in a second cell the same plane with its label map.

    A scan without labels shows its coronal plane in the second cell.
    """
    affine_mm = view.image.affine_mm
    image, spacing_mm = turn_to_ras(view.image.voxels, affine_mm), ras_spacing_mm(affine_mm)
    black, white = grey_window(image)
    label_map = np.zeros(image.shape, np.bool_) if view.label_map is None else turn_to_ras(view.label_map, affine_mm)
    cut = find_cut(label_map, margin=(2, 2, 2))
    second = Plane.CORONAL if view.label_map is None else Plane.AXIAL
    for cell, plane in ((image_cell, Plane.AXIAL), (label_cell, second)):
        picture, aspect = take_plane(image, plane, cut), pixel_aspect(plane, spacing_mm)
        place = place_scan(sheet, cell, picture, aspect=aspect, black=black, white=white)
    fill_structures(sheet, place, take_plane(label_map, second, cut))
