"""Every header that would silently put voxels elsewhere is refused, with its rule and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.nifti import parse_header
from diffuse_uda.data.nifti_affine import largest_corner_offset_mm

NAN, INF = float("nan"), float("inf")
NO_QFORM = {"qform_code": 0}

BAD_HEADERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("magic of a two-file image", {"magic": b"ni1"}, "wrong-magic", "b'ni1"),
    ("one axis has no voxels", {"dim": {2: 0}}, "zero-dimension", "0"),
    ("negative size", {"dim": {1: -4}}, "zero-dimension", "-4"),
    ("no axes at all", {"dim": {0: 0}}, "zero-dimension", "dim ="),
    ("two axes", {"dim": {0: 2}}, "not-3d", "2 axes"),
    ("a time series", {"dim": {0: 4, 4: 3}}, "not-3d", "(4, 5, 6, 3)"),
    ("a deformation field", {"dim": {0: 5, 4: 1, 5: 3}}, "vector-voxels", "a vector in every voxel"),
    ("RGB", {"datatype": 128}, "rgb-voxels", "RGB colours"),
    ("RGBA", {"datatype": 2304}, "rgb-voxels", "RGBA colours"),
    ("complex numbers", {"datatype": 32}, "voxel-type", "datatype 32"),
    ("slope is NaN", {"scl_slope": NAN}, "scaling-not-finite", "scl_slope nan"),
    ("intercept is infinite", {"scl_inter": INF}, "scaling-not-finite", "scl_inter inf"),
    ("voxels inside the header", {"vox_offset": 0}, "wrong-offset", "vox_offset 0"),
    ("voxels a gigabyte later", {"vox_offset": 1e9}, "wrong-offset", "1e+09"),
    ("27 terabytes", {"dim": {1: 30000, 2: 30000, 3: 30000}, "sform_code": 0}, "absurd-size", "60000"),
    ("zero spacing", {"pixdim": {1: 0}}, "bad-pixdim", "(0.0, 2.0, 2.0)"),
    ("NaN spacing", {"pixdim": {2: NAN}}, "bad-pixdim", "nan"),
    ("lengths in metres", {"xyzt_units": 1}, "not-millimetres", "metres"),
    ("no affine", {"sform_code": 0, "qform_code": 0}, "no-affine", "sform_code 0 and qform_code 0"),
    ("NaN in the affine", NO_QFORM | {"srow_x": {0: NAN}}, "bad-affine", "sform holds NaN"),
    ("quaternion longer than one", {"sform_code": 0, "quatern_b": 3.0}, "bad-affine", "no rotation"),
    ("an axis of length zero", NO_QFORM | {"srow_y": {1: 0}}, "singular-affine", "plane"),
    ("two parallel axes", NO_QFORM | {"srow_x": {1: 2}, "srow_y": {1: 0}}, "singular-affine", "plane"),
    ("gantry tilt", NO_QFORM | {"srow_y": {2: 0.5}}, "sheared-affine", "degrees"),
    ("spacing in metres", NO_QFORM | {"srow_x": {0: 0.002}}, "absurd-size", "0.002"),
    ("four metres of body", NO_QFORM | {"srow_z": {2: 700}}, "absurd-size", "4200"),
    ("sform says 3 mm, qform 2 mm", {"srow_x": {0: 3}}, "sform-qform-disagree", "3 mm apart"),
    ("qform is mirrored", {"pixdim": {0: -1}}, "sform-qform-disagree", "20 mm apart"),
]


@pytest.mark.parametrize(
    ("fields", "rule", "words"), [row[1:] for row in BAD_HEADERS], ids=[row[0] for row in BAD_HEADERS]
)
def test_bad_header_is_refused_with_its_rule(
    nifti_header: Callable[..., bytes], fields: dict[str, Any], rule: str, words: str
) -> None:
    with pytest.raises(BrokenRuleError) as caught:
        parse_header(nifti_header(**fields))
    assert caught.value.rule == rule
    assert words in caught.value.found
    assert caught.value.wanted
    assert caught.value.fix


def test_voxels_beyond_two_gibibytes_are_refused_before_allocation(nifti_header: Callable[..., bytes]) -> None:
    # 2000 * 1100 * 1000 voxels of two bytes: 4.4e9; 1 mm, so that the field of view is not what is refused.
    header = nifti_header(dim={1: 2000, 2: 1100, 3: 1000}, qform_code=0, srow_x={0: 1}, srow_y={1: 1}, srow_z={2: 1})
    with pytest.raises(BrokenRuleError, match="4,400,000,000 bytes"):
        parse_header(header)


@pytest.mark.parametrize("block", [b"", b"\x5c\x01\0\0", b"P6 640 480" * 40])
def test_what_is_no_header_is_refused(block: bytes) -> None:
    with pytest.raises(BrokenRuleError) as caught:
        parse_header(block)
    assert caught.value.rule == "wrong-magic"


def test_good_header_says_where_the_voxels_are(nifti_header: Callable[..., bytes]) -> None:
    layout = parse_header(nifti_header())
    assert layout.shape == (4, 5, 6)
    assert layout.voxel_type == np.dtype("<i2")
    assert layout.offset_bytes == 352
    assert layout.voxel_bytes == 240
    assert (layout.slope, layout.intercept) == (1.0, 0.0)
    np.testing.assert_array_equal(layout.affine_mm, np.diag([2, 2, 2, 1]))


def test_negative_spacing_is_read_as_its_absolute_value_and_noted(nifti_header: Callable[..., bytes]) -> None:
    layout = parse_header(nifti_header(sform_code=0, pixdim={3: -2}))
    np.testing.assert_array_equal(layout.affine_mm, np.diag([2, 2, 2, 1]))
    assert [(note.rule, note.found) for note in layout.notes] == [("negative-pixdim", "pixdim (2.0, 2.0, -2.0)")]


def test_axes_of_length_one_beyond_the_third_do_not_matter(nifti_header: Callable[..., bytes]) -> None:
    assert parse_header(nifti_header(dim={0: 4, 4: 1})).shape == (4, 5, 6)


def test_slope_zero_means_no_scaling(nifti_header: Callable[..., bytes]) -> None:
    layout = parse_header(nifti_header(scl_slope=0, scl_inter=7))
    assert (layout.slope, layout.intercept) == (1.0, 0.0)


def test_qform_alone_is_an_affine(nifti_header: Callable[..., bytes]) -> None:
    # A half turn about the third axis (quaternion d = 1): i and j point left and back.
    header = nifti_header(sform_code=0, quatern_d=1.0, qoffset_x=5.0)
    np.testing.assert_allclose(
        parse_header(header).affine_mm, [[-2, 0, 0, 5], [0, -2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], atol=1e-6
    )


@pytest.mark.parametrize("header_class", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_both_byte_orders_and_both_versions_are_understood(header_class: Any, byte_order: Literal["<", ">"]) -> None:
    header = header_class(endianness=byte_order)
    header.set_data_dtype(np.dtype(np.float32).newbyteorder(byte_order))
    header.set_data_shape((3, 4, 5))
    header.set_sform(np.diag([1.0, 2.0, 3.0, 1.0]), code=1)
    header["vox_offset"] = header["sizeof_hdr"] + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    layout = parse_header(header.binaryblock + bytes(4))
    assert layout.shape == (3, 4, 5)
    assert layout.voxel_type == np.dtype(np.float32).newbyteorder(byte_order)
    np.testing.assert_array_equal(layout.affine_mm, np.diag([1, 2, 3, 1]))


def test_largest_offset_of_two_affines_is_at_the_far_corner() -> None:
    # Spacing 1.0 against 1.1 mm along i: index 9 of ten voxels is 0.9 mm off, index 0 is not off at all.
    assert largest_corner_offset_mm(np.eye(4), np.diag([1.1, 1, 1, 1]), (10, 10, 10)) == pytest.approx(0.9)
