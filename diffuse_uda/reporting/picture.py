"""The picture of the README, drawn by the program itself: every target on a line, every method in a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from diffuse_uda.reporting.canvas import LIGHT_INK, dark_figure, png_bytes
from diffuse_uda.reporting.overlays import add_legend, draw_scan, fill_structures, outline_structures
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
from diffuse_uda.reporting.views import CaseView, PairView

WIDTH_PX = 1600
HEIGHT_PX = 700
SHOWN_ROWS = ("source-only", "asc-plus", "diffuse-uda")

_LEFT_PX = 34
_BETWEEN_PX = 30
_TOP_PX = 8
_TITLE_PX = 24
_LEGEND_PX = 38
_GAP_PX = 5

_Box = tuple[float, float, float, float]


def render_picture(cases: Sequence[CaseView], pairs: Mapping[str, PairView], label_names: Sequence[str]) -> bytes:
    """Draw one axial plane of one case a target: scan, source-only, ASC+, Diffuse-UDA, reference; then a synthetic pair.

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
    figure = dark_figure(WIDTH_PX, HEIGHT_PX)
    num_columns = len(SHOWN_ROWS) + 2 + (2 if pairs else 0)
    usable = WIDTH_PX - _LEFT_PX - (_BETWEEN_PX if pairs else 0) - _GAP_PX * num_columns
    cell_width = usable / num_columns
    cell_height = (HEIGHT_PX - _TOP_PX - _LEGEND_PX) / len(cases) - _TITLE_PX - _GAP_PX
    for line, case in enumerate(cases):
        top = _TOP_PX + line * (_TITLE_PX + cell_height + _GAP_PX)
        boxes = [_box(column, top + _TITLE_PX, cell_width, cell_height) for column in range(num_columns)]
        _draw_case(figure, case, boxes[: len(SHOWN_ROWS) + 2])
        if case.site_id in pairs:
            _draw_synthetic(figure, pairs[case.site_id], boxes[-2:])
        figure.text(
            12 / WIDTH_PX,
            1 - (top + _TITLE_PX + cell_height / 2) / HEIGHT_PX,
            case.site_id,
            rotation=90,
            ha="center",
            va="center",
            color=LIGHT_INK,
            fontsize=11,
            weight="bold",
            parse_math=False,
        )
    add_legend(figure, label_names, has_outline=any(case.reference is not None for case in cases))
    return png_bytes(figure)


def _box(column: int, top: float, width: float, height: float) -> _Box:
    left = _LEFT_PX + column * (width + _GAP_PX) + (_BETWEEN_PX if column >= len(SHOWN_ROWS) + 2 else 0)
    return left / WIDTH_PX, 1 - (top + height) / HEIGHT_PX, width / WIDTH_PX, height / HEIGHT_PX


def _draw_case(figure: Figure, case: CaseView, boxes: Sequence[_Box]) -> None:
    affine_mm = case.image.affine_mm
    image = turn_to_ras(case.image.voxels, affine_mm)
    reference = None if case.reference is None else turn_to_ras(case.reference, affine_mm)
    predictions = {row: turn_to_ras(case.predictions[row], affine_mm) for row in SHOWN_ROWS if row in case.predictions}
    basis = reference if reference is not None else next(iter(predictions.values()), np.zeros(image.shape, np.bool_))
    cut = find_cut(basis, margin=(2, 2, 2))
    aspect = pixel_aspect(Plane.AXIAL, ras_spacing_mm(affine_mm))
    black, white = grey_window(image)
    outline = None if reference is None else take_plane(reference, Plane.AXIAL, cut)
    fills = [
        ("Scan", None),
        *((_title(case, row), predictions.get(row)) for row in SHOWN_ROWS),
        ("Reference", reference),
    ]
    for box, (title, fill) in zip(boxes, fills, strict=True):
        if fill is None and title != "Scan":
            continue
        axes = figure.add_axes(box)
        draw_scan(axes, take_plane(image, Plane.AXIAL, cut), aspect=aspect, black=black, white=white)
        axes.set_title(title, color=LIGHT_INK, fontsize=11, pad=4)
        if fill is not None:
            fill_structures(axes, take_plane(fill, Plane.AXIAL, cut))
            if outline is not None and fill is not reference:
                outline_structures(axes, outline)


def _title(case: CaseView, row: str) -> str:
    dice = case.dice.get(row)
    return row_name(row) if dice is None else f"{row_name(row)}  {dice:.2f}"


def _draw_synthetic(figure: Figure, pair: PairView, boxes: Sequence[_Box]) -> None:
    image_axes, label_axes = (figure.add_axes(box) for box in boxes)
    draw_pair(image_axes, label_axes, pair)
    image_axes.set_title("Synthetic image", color=LIGHT_INK, fontsize=11, pad=4)
    label_axes.set_title("its label map", color=LIGHT_INK, fontsize=11, pad=4)
