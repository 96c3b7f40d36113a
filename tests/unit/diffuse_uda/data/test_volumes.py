"""Reading is complete or refused; writing carries nothing over but voxels and affine."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from diffuse_uda.data import volumes
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import Volume, load_volume, require_same_grid, save_volume
from diffuse_uda.errors import GeometryError

AFFINE_MM = np.array([[0.0, 0, -3, 10], [2, 0, 0, -20], [0, 1, 0, 30], [0, 0, 0, 1]])
WriteNifti = Callable[..., Path]


def _volume(affine_mm: Any = AFFINE_MM) -> Volume:
    return Volume(voxels=np.arange(120, dtype=np.int16).reshape(4, 5, 6), affine_mm=np.asarray(affine_mm, float))


def _refusal(path: Path) -> BrokenRuleError:
    with pytest.raises(BrokenRuleError) as caught:
        load_volume(path)
    return caught.value


def test_volume_knows_its_spacing_and_where_its_axes_point() -> None:
    # i runs 2 mm towards the front, j 1 mm upwards, k 3 mm to the left.
    volume = _volume()
    assert volume.spacing_mm == (2.0, 1.0, 3.0)
    assert volume.shape == (4, 5, 6)
    assert volume.orientation == "ASL"


@pytest.mark.parametrize(("voxels", "affine_mm"), [(np.zeros((2, 2)), np.eye(4)), (np.zeros((2, 2, 2)), np.eye(3))])
def test_volume_must_have_three_axes_and_an_affine(voxels: Any, affine_mm: Any) -> None:
    with pytest.raises(GeometryError, match="4x4 affine, got"):
        Volume(voxels=voxels, affine_mm=affine_mm)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_saved_volume_comes_back_as_it_was(tmp_path: Path, ending: str, dtype: str) -> None:
    path = tmp_path / f"scan{ending}"
    save_volume(path, _volume(), dtype=dtype)
    loaded = load_volume(path)
    assert loaded.voxels.dtype == dtype
    np.testing.assert_array_equal(loaded.voxels, _volume().voxels)
    np.testing.assert_array_equal(loaded.affine_mm, AFFINE_MM)
    np.testing.assert_array_equal(nib.load(path).get_fdata(), _volume().voxels)


def test_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    save_volume(tmp_path / "one.nii.gz", _volume(), dtype="int16")
    save_volume(tmp_path / "two.nii.gz", _volume(), dtype="int16")
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()
    # Bytes 4 to 7 of gzip are a time stamp, and a file name may follow: neither is there.
    assert (tmp_path / "one.nii.gz").read_bytes()[4:8] == bytes(4)
    assert b".nii" not in (tmp_path / "one.nii.gz").read_bytes()


def test_name_planted_in_a_header_does_not_survive(tmp_path: Path) -> None:
    token = b"DOE^JANE"
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), AFFINE_MM)
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[field] = token
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", token))
    planted = tmp_path / "planted.nii"
    image.to_filename(planted)
    assert planted.read_bytes().count(token) == 5
    save_volume(tmp_path / "clean.nii", load_volume(planted), dtype="int16")
    assert token not in (tmp_path / "clean.nii").read_bytes()
    assert (tmp_path / "clean.nii").stat().st_size == 352 + 240


@pytest.mark.parametrize(("value", "dtype"), [(300.0, "uint8"), (0.5, "uint8"), (-1.0, "uint16"), (np.nan, "int16")])
def test_values_that_do_not_fit_are_refused_not_wrapped(tmp_path: Path, value: float, dtype: str) -> None:
    volume = Volume(voxels=np.full((2, 2, 2), value), affine_mm=np.eye(4))
    with pytest.raises(ValueError, match=f"do not all fit {dtype}"):
        save_volume(tmp_path / "scan.nii", volume, dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_only_nifti_names_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scan\.mha: the name must end in"):
        save_volume(tmp_path / "scan.mha", _volume(), dtype="int16")


def test_scaled_integers_are_read_as_floats(tmp_path: Path, write_nifti: WriteNifti) -> None:
    # Stored 0, 1, 2, ... with slope 0.5 and intercept -10; the first axis runs fastest.
    loaded = load_volume(write_nifti(tmp_path / "scan.nii.gz", scl_slope=0.5, scl_inter=-10))
    assert loaded.voxels.dtype == np.float32
    assert loaded.voxels[:3, 0, 0].tolist() == [-10.0, -9.5, -9.0]
    assert loaded.voxels[0, 1, 0] == -8.0


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4), header).to_filename(
        tmp_path / "scan.nii"
    )
    assert (tmp_path / "scan.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    loaded = load_volume(tmp_path / "scan.nii")
    assert loaded.voxels.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(loaded.voxels.ravel(), np.arange(24))


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.Nifti2Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(load_volume(tmp_path / "scan.nii.gz").voxels.ravel(), np.arange(24))


def test_truncated_gzip_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    save_volume(path, _volume(), dtype="int16")
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refusal = _refusal(path)
        assert refusal.rule == "truncated-gzip"
        assert "without an end" in refusal.found


def test_flipped_bit_behind_the_last_voxel_is_found_by_the_checksum(tmp_path: Path) -> None:
    # Stored without compression, a flipped bit changes one voxel and nothing else: only the checksum can tell.
    path = tmp_path / "scan.nii.gz"
    save_volume(tmp_path / "scan.nii", _volume(), dtype="int16")
    content = bytearray(gzip.compress((tmp_path / "scan.nii").read_bytes(), compresslevel=0))
    content[-20] ^= 1
    path.write_bytes(content)
    assert _refusal(path).rule == "damaged-gzip"


def test_flipped_bit_inside_the_compressed_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    save_volume(path, _volume(), dtype="int16")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert _refusal(path).rule in {"damaged-gzip", "wrong-magic", "truncated-file"}


def test_uncompressed_file_that_is_too_short_is_refused_by_arithmetic(tmp_path: Path, write_nifti: WriteNifti) -> None:
    path = write_nifti(tmp_path / "scan.nii")
    path.write_bytes(path.read_bytes()[:-100])
    refusal = _refusal(path)
    assert refusal.rule == "truncated-file"
    assert "492 bytes" in refusal.found
    assert refusal.wanted.startswith("592 bytes")


def test_gzip_whose_content_is_too_short_is_refused(tmp_path: Path, write_nifti: WriteNifti) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", dim={3: 7})
    refusal = _refusal(path)
    assert refusal.rule == "truncated-file"
    assert "592 bytes" in refusal.found
    assert refusal.wanted.startswith("632 bytes")


def test_header_that_claims_more_than_deflate_can_hold_is_refused_before_allocation(
    tmp_path: Path, write_nifti: WriteNifti
) -> None:
    # 1000^3 bytes in a file of a few hundred: below the cap, but no compression is that good.
    fields = {"dim": {1: 1000, 2: 1000, 3: 1000}, "datatype": 2, "qform_code": 0}
    path = write_nifti(tmp_path / "scan.nii.gz", **fields)
    refusal = _refusal(path)
    assert refusal.rule == "truncated-file"
    assert "cannot hold" in refusal.found


def test_bytes_without_end_after_the_voxels_are_refused(
    tmp_path: Path, write_nifti: WriteNifti, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "MAX_TRAILING_BYTES", 1000)
    path = write_nifti(tmp_path / "scan.nii")
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert load_volume(path).shape == (4, 5, 6)
    path.write_bytes(path.read_bytes() + bytes(1))
    assert _refusal(path).rule == "trailing-data"


BAD_FILES: list[tuple[str, str, bytes, str, str]] = [
    ("zero bytes", "scan.nii.gz", b"", "empty-file", "zero bytes"),
    ("gzip named .nii", "scan.nii", gzip.compress(b"x" * 999), "wrong-ending", "gzip data in a file named .nii"),
    ("no gzip in .nii.gz", "scan.nii.gz", b"\x5c\x01\0\0" + bytes(900), "wrong-ending", "no gzip data"),
    ("wrong magic", "scan.nii", b"DICM" * 200, "wrong-magic", "DICM"),
    ("too short for a header", "scan.nii", b"abc", "wrong-magic", "3 bytes"),
    ("Git LFS", "scan.nii.gz", b"version https://git-lfs.github.com/spec/v1\noid ", "pointer-file", "Git LFS"),
    ("git-annex", "scan.nii.gz", b"/annex/objects/SHA256E-s1--0", "pointer-file", "git-annex"),
    ("another format", "scan.nrrd", b"NRRD0004", "unsupported-format", "scan.nrrd"),
]


@pytest.mark.parametrize(
    ("name", "content", "rule", "words"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES]
)
def test_file_that_is_no_scan_is_refused_with_its_rule(
    tmp_path: Path, name: str, content: bytes, rule: str, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refusal = _refusal(tmp_path / name)
    assert refusal.rule == rule
    assert words in refusal.found


def test_gzip_named_nii_gets_the_hint_to_rename(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes(gzip.compress(b"x"))
    assert "rename it to .nii.gz" in str(_refusal(tmp_path / "scan.nii"))


def test_missing_file_and_dangling_link_are_told_apart(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "scan.nii").found == "no such file"
    (tmp_path / "link.nii").symlink_to(".git/annex/objects/x")
    assert "git annex get" in _refusal(tmp_path / "link.nii").fix


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scan.nii")
    assert _refusal(tmp_path / "scan.nii").rule == "not-a-file"


def test_file_that_may_not_be_read_is_refused(
    tmp_path: Path, write_nifti: WriteNifti, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permission bits do not stop root, so the refusal of the operating system is staged.
    path = write_nifti(tmp_path / "scan.nii")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    refusal = _refusal(path)
    assert refusal.rule == "unreadable-file"
    assert refusal.found == "Permission denied"


def test_same_grid_accepts_rounding_of_1e_5() -> None:
    rounded = AFFINE_MM + 1e-5 * np.sign(AFFINE_MM)
    require_same_grid(_volume(), _volume(rounded))


def test_same_grid_refuses_another_shape() -> None:
    small = Volume(voxels=np.zeros((4, 5, 5)), affine_mm=AFFINE_MM)
    with pytest.raises(GeometryError, match=r"image is \(4, 5, 6\) voxels, label map is \(4, 5, 5\)"):
        require_same_grid(_volume(), small)


def test_same_grid_refuses_a_shifted_origin_with_the_distance() -> None:
    shifted = AFFINE_MM.copy()
    shifted[0, 3] += 500.0
    with pytest.raises(GeometryError, match=r"500 mm apart, allowed 0\.01 mm"):
        require_same_grid(_volume(), _volume(shifted))


def test_same_grid_refuses_a_mirrored_label_map() -> None:
    # i runs from 10 to 13 mm in the image and from 10 to 7 mm in the label map: 6 mm apart at the end.
    image = Volume(voxels=np.zeros((4, 4, 4)), affine_mm=np.eye(4))
    mirrored = Volume(voxels=np.zeros((4, 4, 4)), affine_mm=np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(GeometryError, match=r"RAS.*LAS.*6 mm apart"):
        require_same_grid(image, mirrored)
