"""Sheets of slices."""

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffuse_uda.reporting.palette import structure_colour
from diffuse_uda.reporting.planes import Plane
from diffuse_uda.reporting.sprites import Box, PlaneSheets, SpriteLimits, chosen_slices, cut_sheets, thumbnail


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def _cut(plane: Plane, found: np.ndarray, limits: SpriteLimits | None = None) -> PlaneSheets:
    box: Box = tuple((0, size) for size in found.shape)  # type: ignore[assignment]
    return cut_sheets(
        plane,
        found.astype(np.float32) * 100,
        (found, None),
        box=box,
        centre=[size // 2 for size in found.shape],
        spacing_mm=(1.0, 2.0, 5.0),
        window=(0.0, 100.0),
        limits=limits or SpriteLimits(),
    )


def _tile(sheets: PlaneSheets, sheet: bytes, number: int) -> np.ndarray:
    """Alpha of one tile, cut out as the page's script does it."""
    picture = _open(sheet).convert("RGBA")
    across = picture.width // sheets.pitch_px[0]
    left, top = number % across * sheets.pitch_px[0], number // across * sheets.pitch_px[1]
    width, height = sheets.tile_px
    return np.asarray(picture.crop((left, top, left + width, top + height)))[..., 3] > 0


@given(st.integers(0, 50), st.integers(1, 300), st.integers(1, 60), st.floats(0, 0.999))
def test_chosen_slices_are_few_evenly_spaced_and_hold_the_wanted_one(
    first: int, size: int, most: int, share: float
) -> None:
    wanted = first + int(share * size)
    slices = chosen_slices(first, first + size, wanted, most=most)
    assert wanted in slices
    assert len(slices) <= most
    assert first <= slices[0] <= slices[-1] < first + size
    assert len({later - earlier for earlier, later in pairwise(slices)}) <= 1


def test_every_tile_is_its_slice_as_a_radiologist_looks_at_it() -> None:
    found = np.random.default_rng(0).integers(0, 2, (7, 9, 11)).astype(np.uint8)
    axial = _cut(Plane.AXIAL, found)
    assert axial.slices == tuple(range(11))
    assert axial.tile_px == (7, 9)
    for number, index in enumerate(axial.slices):
        # Column 0 is the patient's right (the high end of the first axis), row 0 is anterior.
        assert np.array_equal(_tile(axial, axial.found[1], number), found[::-1, ::-1, index].T > 0)


def test_the_box_is_what_is_shown() -> None:
    found = np.zeros((6, 6, 6), np.uint8)
    found[3, 4, 2] = 1
    sheets = cut_sheets(
        Plane.CORONAL,
        found,
        (found, None),
        box=((2, 5), (3, 6), (1, 4)),
        centre=(3, 4, 2),
        spacing_mm=(1.0, 1.0, 1.0),
        window=(0.0, 1.0),
        limits=SpriteLimits(),
    )
    assert sheets.slices == (3, 4, 5)
    tile = _tile(sheets, sheets.found[1], sheets.start)
    assert tile.shape == (3, 3)
    assert np.argwhere(tile).tolist() == [[1, 1]]


def test_a_structure_is_one_bit_in_its_own_colour() -> None:
    found = np.zeros((4, 4, 4), np.uint8)
    found[1:3, 1:3, 1:3] = 3
    sheets = _cut(Plane.AXIAL, found)
    assert set(sheets.found) == {3}
    picture = np.asarray(_open(sheets.found[3]).convert("RGBA"))
    colours = {tuple(pixel) for pixel in picture[picture[..., 3] > 0][:, :3].tolist()}
    assert colours == {tuple(int(structure_colour(3)[place : place + 2], 16) for place in (1, 3, 5))}


def test_millimetres_not_voxels_say_how_large_a_slice_is() -> None:
    found = np.ones((4, 6, 10), np.uint8)
    assert _cut(Plane.AXIAL, found).size_mm == (4.0, 12.0)
    assert _cut(Plane.SAGITTAL, found).size_mm == (12.0, 50.0)


def test_a_large_slice_is_made_smaller_and_many_slices_fewer() -> None:
    found = np.zeros((40, 20, 30), np.uint8)
    found[10:30, 4:14, 10:20] = 1
    sheets = _cut(Plane.AXIAL, found, SpriteLimits(max_slices=8, max_tile_px=20))
    assert sheets.tile_px == (20, 10)
    assert len(sheets.slices) <= 8
    tile = _tile(sheets, sheets.found[1], sheets.start)
    assert tile.sum() == 50  # 20 x 10 voxels, half in both directions


def test_the_scan_is_a_grey_jpeg_of_tiles_that_do_not_ring_into_each_other() -> None:
    found = np.zeros((9, 9, 4), np.uint8)
    found[..., 1] = 1  # a white slice between black ones
    sheets = _cut(Plane.AXIAL, found)
    picture = _open(sheets.scan)
    assert (picture.format, picture.mode) == ("JPEG", "L")
    assert sheets.pitch_px == (16, 16)
    grey = np.asarray(picture)
    assert grey[:9, 16:25].min() > 250
    assert grey[:9, 0:9].max() < 5
    assert grey[:9, 32:41].max() < 5


@pytest.mark.parametrize(("aspect", "size"), [(1.0, (16, 32)), (4.0, (4, 32))])
def test_a_small_picture_keeps_the_shape_of_the_body(aspect: float, size: tuple[int, int]) -> None:
    image = np.ones((40, 20))
    small = thumbnail(image, np.zeros((40, 20), np.uint8), aspect=aspect, window=(0.0, 1.0), side_px=32)
    assert _open(small).size == size
