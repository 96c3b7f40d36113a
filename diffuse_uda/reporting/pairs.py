"""Synthetic pairs beside real scans: does the generator render what the centre's scanner makes?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from diffuse_uda.reporting.canvas import DIM_INK, LIGHT_INK, bare, dark_figure, png_bytes
from diffuse_uda.reporting.overlays import add_legend, draw_scan, fill_structures, write_letters
from diffuse_uda.reporting.planes import (
    Plane,
    find_cut,
    grey_window,
    pixel_aspect,
    ras_spacing_mm,
    take_plane,
    turn_to_ras,
)
from diffuse_uda.reporting.views import PairsOfTarget, PairView

_CELL_PX = (170, 204)
_GAP_PX = 4
_BETWEEN_PX = 26
_TITLE_PX = 40
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
    groups = [("Real", pairs.real), ("Synthetic", pairs.synthetic)]
    drawn = [(title, views) for title, views in groups if views]
    if not drawn:
        msg = f"site {pairs.site_id!r}: no scan and no pair to draw; leave the figure out"
        raise ValueError(msg)
    cell_width, cell_height = _CELL_PX
    num_columns = sum(len(views) for _, views in drawn)
    width = num_columns * (cell_width + _GAP_PX) + _GAP_PX + _BETWEEN_PX * (len(drawn) - 1)
    height = _TITLE_PX + 2 * (cell_height + _GAP_PX) + _LEGEND_PX
    figure = dark_figure(width, height)
    left = float(_GAP_PX)
    for title, views in drawn:
        middle = left + (len(views) * (cell_width + _GAP_PX) - _GAP_PX) / 2
        figure.text(
            middle / width, 1 - 12 / height, title, ha="center", va="top", color=LIGHT_INK, fontsize=10, weight="bold"
        )
        for view in views:
            boxes = [
                (left / width, (height - _TITLE_PX - (line + 1) * (cell_height + _GAP_PX)) / height)
                for line in range(2)
            ]
            image_axes, label_axes = (
                figure.add_axes((*corner, cell_width / width, cell_height / height)) for corner in boxes
            )
            draw_pair(image_axes, label_axes, view)
            left += cell_width + _GAP_PX
        left += _BETWEEN_PX
    write_letters(figure.axes[0], Plane.AXIAL)
    add_legend(figure, label_names, has_outline=False)
    return png_bytes(figure)


def draw_pair(image_axes: Axes, label_axes: Axes, view: PairView) -> None:
    """Draw one axial plane twice: the image alone, and with its label map."""
    affine_mm = view.image.affine_mm
    image = turn_to_ras(view.image.voxels, affine_mm)
    label_map = None if view.label_map is None else turn_to_ras(view.label_map, affine_mm)
    cut = find_cut(np.zeros(image.shape, np.bool_) if label_map is None else label_map, margin=(2, 2, 2))
    spacing_mm = ras_spacing_mm(affine_mm)
    black, white = grey_window(image)
    picture, aspect = take_plane(image, Plane.AXIAL, cut), pixel_aspect(Plane.AXIAL, spacing_mm)
    draw_scan(image_axes, picture, aspect=aspect, black=black, white=white)
    if label_map is None:
        bare(label_axes)
        label_axes.text(0.5, 0.5, "no labels", transform=label_axes.transAxes, ha="center", color=DIM_INK, fontsize=9)
        return
    draw_scan(label_axes, picture, aspect=aspect, black=black, white=white)
    fill_structures(label_axes, take_plane(label_map, Plane.AXIAL, cut))
