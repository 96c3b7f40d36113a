import io

import numpy as np
from PIL import Image

from diffuse_uda.reporting.canvas import dark_figure, light_figure, plain_text, png_bytes, svg_bytes
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
