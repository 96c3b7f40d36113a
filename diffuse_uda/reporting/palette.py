"""Fixed colours that people with every kind of colour vision tell apart."""

from __future__ import annotations

from diffuse_uda.reporting.rows import CEILING, FLOOR

STRUCTURE_COLOURS = (
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
    "#009E73",
    "#D55E00",
    "#6F4CFF",
    "#FFFFFF",
    "#AA4499",
    "#999933",
    "#88CCEE",
    "#882255",
)
"""Okabe and Ito's set first, its dark blue made violet to differ from sky blue on grey; then Tol's muted set."""

SITE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255")
SITE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_ROW_COLOURS = {FLOOR: "#6B7280", "asc": "#56B4E9", "asc-plus": "#0072B2", "diffuse-uda": "#D55E00", CEILING: "#000000"}
_ROW_MARKERS = {FLOOR: "o", "asc": "v", "asc-plus": "s", "diffuse-uda": "D", CEILING: "|"}


def structure_colour(label: int) -> str:
    """Choose the colour of a structure by its label value (from 1); the same in every figure."""
    return STRUCTURE_COLOURS[(label - 1) % len(STRUCTURE_COLOURS)]


def row_colour(row: str) -> str:
    """Choose the colour of a method row; rows without one of their own share a purple."""
    return _ROW_COLOURS.get(row, "#882255")


def row_marker(row: str) -> str:
    """Choose the marker of a method row, so that no chart relies on colour alone."""
    return _ROW_MARKERS.get(row, "P")
