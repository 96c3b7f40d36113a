"""Fixed colours that people with every kind of colour vision tell apart."""

from __future__ import annotations

from diffuse_uda.reporting.rows import CEILING, FLOOR, base_row, federated_row

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

_ROW_COLOURS = {
    FLOOR: "#6B7280",
    "source-only-random-conv": "#999933",
    "shipped-and-adapted": "#009E73",
    "asc": "#56B4E9",
    "asc-plus": "#0072B2",
    "diffuse-uda-pass-1": "#E69F00",
    "diffuse-uda": "#D55E00",
    "mt-uda": "#CC79A7",
    "le-uda": "#6F4CFF",
    "le-uda-recoloured": "#88CCEE",
    "le-uda-diffuse-uda": "#AA4499",
    CEILING: "#000000",
}
_ROW_MARKERS = {
    FLOOR: "o",
    "source-only-random-conv": "p",
    "shipped-and-adapted": "^",
    "asc": "v",
    "asc-plus": "s",
    "diffuse-uda-pass-1": "d",
    "diffuse-uda": "D",
    "mt-uda": "<",
    "le-uda": "*",
    "le-uda-recoloured": "h",
    "le-uda-diffuse-uda": "X",
    CEILING: "|",
}


def structure_colour(label: int) -> str:
    """Choose the colour of a structure by its label value (from 1); the same in every figure."""
    return STRUCTURE_COLOURS[(label - 1) % len(STRUCTURE_COLOURS)]


def row_colour(row: str) -> str:
    """Choose the colour of a method row; rows without one of their own share a purple.

    A centralised reference and an ablation have the colour of their method.
    """
    return _ROW_COLOURS.get(federated_row(base_row(row)), "#882255")


def row_marker(row: str) -> str:
    """Choose the marker of a method row, so that no chart relies on colour alone."""
    return _ROW_MARKERS.get(federated_row(base_row(row)), "P")
