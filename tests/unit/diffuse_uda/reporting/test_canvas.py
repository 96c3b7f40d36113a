import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from PIL import Image

from diffuse_uda.reporting.canvas import (
    chart_png_bytes,
    dark_figure,
    light_figure,
    plain_text,
    png_bytes,
    svg_bytes,
)
from diffuse_uda.reporting.palette import STRUCTURE_COLOURS


def _swatches() -> np.ndarray:
    figure = dark_figure(480, 40)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, len(STRUCTURE_COLOURS))
    for place, colour in enumerate(STRUCTURE_COLOURS):
        axes.axvspan(place, place + 1, color=colour)
    return np.asarray(Image.open(io.BytesIO(png_bytes(figure))).convert("RGB")).astype(int)


def test_the_palette_keeps_every_structure_s_colour() -> None:
    pixels = _swatches()
    for place, colour in enumerate(STRUCTURE_COLOURS):
        wanted = [int(colour[index : index + 2], 16) for index in (1, 3, 5)]
        assert abs(pixels[20, place * 40 + 20] - wanted).max() <= 8


def test_a_grey_figure_keeps_its_greys() -> None:
    figure = dark_figure(64, 64)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(np.full((2, 2), 0.5), cmap="gray", vmin=0, vmax=1)
    pixels = np.asarray(Image.open(io.BytesIO(png_bytes(figure))).convert("RGB")).astype(int)
    assert abs(pixels[32, 32] - 128).max() <= 2


def test_equal_figures_are_equal_bytes_and_carry_no_date() -> None:
    def draw() -> bytes:
        figure = light_figure(2, 2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], marker="o")
        return svg_bytes(figure)

    assert draw() == draw()
    assert b"<dc:date>" not in draw()


def test_names_are_shown_and_not_interpreted() -> None:
    assert plain_text("_a$b$") == r" _a\$b\$"
    assert plain_text("leeds") == "leeds"


def test_a_small_legend_keeps_the_exact_colours_of_the_structures_beside_a_colourful_picture() -> None:
    generator = np.random.default_rng(0)
    figure = dark_figure(400, 200)
    axes = figure.add_axes((0.0, 0.2, 1.0, 0.8))
    axes.imshow(generator.random((160, 400, 3)) * np.array([1.0, 0.6, 0.1]))  # thousands of oranges, nothing green
    for place, colour in enumerate(STRUCTURE_COLOURS[:7]):
        figure.add_artist(Rectangle((0.1 * place, 0.0), 0.05, 0.1, color=colour, transform=figure.transFigure))
    pixels = np.asarray(Image.open(io.BytesIO(png_bytes(figure))).convert("RGB"))
    found = {tuple(pixel) for pixel in pixels[185:].reshape(-1, 3).tolist()}
    wanted = {tuple(round(255 * part) for part in to_rgb(colour)) for colour in STRUCTURE_COLOURS[:7]}
    assert wanted <= found


def test_flat_areas_of_a_chart_keep_their_colour_exactly() -> None:
    figure = light_figure(4, 1)
    figure.subplots().barh([0, 1], [1, 2], color=["#0072B2", "#D55E00"])
    image = Image.open(io.BytesIO(chart_png_bytes(figure, dpi=100))).convert("RGB")
    assert image.size == (400, 100)
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= {colour for _, colour in image.getcolors(1 << 16) or []}
