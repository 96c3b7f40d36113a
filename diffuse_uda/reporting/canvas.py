"""Figures without a screen and without state: Matplotlib's objects, and files that are the same every time."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from diffuse_uda.reporting.palette import STRUCTURE_COLOURS

DARK = "#0E1116"
"""Behind scans: black is what a reading room uses, and it is right on a light page as on a dark one."""
LIGHT_INK = "#E6E9EE"

_NUM_GREYS = 88
_NUM_HUES = 256 - _NUM_GREYS - len(STRUCTURE_COLOURS)
_LEAST_CHROMA = 12
"""Difference of the largest and the smallest of red, green and blue below which a pixel is grey."""


def dark_figure(width_px: int, height_px: int, *, dpi: int = 100) -> Figure:
    """Make an empty figure for scans; no state of `pyplot` is touched."""
    return Figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi, facecolor=DARK)


def light_figure(width_in: float, height_in: float) -> Figure:
    """Make an empty figure for a chart, white in every colour scheme so that print and screen agree."""
    return Figure(figsize=(width_in, height_in), facecolor="white", layout="constrained")


def plain_text(text: str) -> str:
    """Keep Matplotlib from reading a name: `$` means mathematics to it, a leading underscore hides a legend's entry."""
    visible = f" {text}" if text.startswith("_") else text
    return visible.replace("$", r"\$")


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure as a PNG with a palette: scans are grey and structures few, a third of the bytes is enough."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    small = image.quantize(palette=_palette(np.asarray(image)), dither=Image.Dither.NONE)
    content = io.BytesIO()
    small.save(content, format="PNG", optimize=True)
    return content.getvalue()


def _palette(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Reserve a fine grey ramp, so that scans show no steps, and the structures' colours, so that a legend is right.

    The rest is shared among the colours that occur; every colour counts once, however many pixels have it.
    """
    ramp = np.linspace(0, 255, _NUM_GREYS).round().astype(np.uint8)
    legend = np.array([[round(255 * part) for part in to_rgb(colour)] for colour in STRUCTURE_COLOURS], np.uint8)
    entries = np.concatenate([np.repeat(ramp[:, None], 3, axis=1), legend])
    hued = pixels[np.ptp(pixels, axis=2) > _LEAST_CHROMA].astype(np.uint32)
    codes = np.unique(hued @ np.array([65536, 256, 1], np.uint32))
    hued = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)
    if len(hued):
        chosen = Image.fromarray(hued[None]).quantize(_NUM_HUES, method=Image.Quantize.MEDIANCUT).getpalette() or []
        entries = np.concatenate([entries, np.array(chosen, np.uint8).reshape(-1, 3)[:_NUM_HUES]])
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries.tobytes())
    return palette


def chart_png_bytes(figure: Figure, *, dpi: int = 140) -> bytes:
    """Draw a chart as a PNG with a palette: by how often a colour occurs, so that flat areas keep theirs exactly."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = io.BytesIO()
    small = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(content, format="PNG", optimize=True)
    return content.getvalue()


def svg_bytes(figure: Figure) -> bytes:
    """Draw a figure as SVG: letters as shapes, no date, no random names, so that equal figures are equal bytes."""
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "diffuse-uda", "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None, "Creator": None})
    return content.getvalue()
