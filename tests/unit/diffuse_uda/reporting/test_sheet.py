import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from diffuse_uda.reporting.planes import Plane
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

WHOLE = Cell(left=0, top=0, width=100, height=100)


def _pixels(sheet: object) -> np.ndarray:
    canvas = FigureCanvasAgg(sheet.figure)  # type: ignore[attr-defined]
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def _drawn(label_picture: np.ndarray, *, outline: bool) -> np.ndarray:
    # Ten pixels of the sheet a voxel.
    sheet = blank_sheet(100, 100)
    place = place_scan(sheet, WHOLE, np.zeros(label_picture.shape), aspect=1.0, black=0.0, white=1.0)
    (outline_structures if outline else fill_structures)(sheet, place, label_picture)
    return _pixels(sheet)


def test_a_structure_is_coloured_where_it_is_and_its_hole_stays_dark() -> None:
    # A ring of 6 x 6 voxels with a hole of 2 x 2 in the middle.
    ring = np.zeros((10, 10), np.uint8)
    ring[2:8, 2:8] = 1
    ring[4:6, 4:6] = 0
    pixels = _drawn(ring, outline=False)
    assert pixels[30, 30].max() > 100
    assert pixels[50, 50].max() == 0
    assert pixels[5, 5].max() == 0


def test_an_outline_is_a_white_line_around_an_untouched_inside() -> None:
    square = np.zeros((10, 10), np.uint8)
    square[2:8, 2:8] = 1
    pixels = _drawn(square, outline=True)
    assert pixels[50, 18:23].max() > 100
    assert pixels[50, 30:70].max() == 0


def test_a_structure_that_touches_the_edge_is_closed() -> None:
    assert _drawn(np.ones((10, 10), np.uint8), outline=False)[50, 50].max() > 100


def test_the_first_row_of_a_picture_is_at_the_top_and_its_first_column_at_the_left() -> None:
    corner = np.zeros((10, 10), np.uint8)
    corner[1:3, 5:9] = 1
    pixels = _drawn(corner, outline=False)
    assert pixels[20, 70].max() > 100
    assert pixels[70, 20].max() == 0


@pytest.mark.parametrize(("aspect", "inside", "outside"), [(1.0, (50, 10), (10, 50)), (4.0, (10, 50), (50, 10))])
def test_a_scan_keeps_its_proportions_in_the_middle_of_its_cell(
    aspect: float, inside: tuple[int, int], outside: tuple[int, int]
) -> None:
    # 5 rows of 10 voxels: twice as wide as high, or twice as high as wide with slices of four times the width.
    sheet = blank_sheet(100, 100)
    place = place_scan(sheet, WHOLE, np.ones((5, 10)), aspect=aspect, black=0.0, white=1.0)
    pixels = _pixels(sheet)
    assert pixels[inside].min() == 255
    assert pixels[outside].max() < 30
    assert place.transform((4.5, 2.0)) == pytest.approx((50.0, 50.0))


def test_title_letters_and_legend_are_written_where_they_belong() -> None:
    sheet = blank_sheet(200, 200)
    cell = Cell(left=0, top=60, width=200, height=100)
    write_title(sheet, cell, "two\nlines", font_size=9)
    write_letters(sheet, cell, Plane.AXIAL)
    add_legend(sheet, ("background", "_odd$"), has_outline=True)
    assert [text.get_text() for text in sheet.texts] == ["lines", "two", "R", "L", "A", "P"]
    assert sheet.texts[1].get_position()[1] < sheet.texts[0].get_position()[1] < 60
    assert sheet_bytes(sheet).startswith(b"\x89PNG")
