"""The catalogue of bad input as data: how each file is made from a sound centre, and what the gate has to say to it.

Every row is the catalogue's code, what it is, how to make it (from the `Spoiler` of the gate's tests), the rule, and
words of what was found.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Spoil = Callable[[Any], Any]
Row = tuple[str, str, Spoil, str, str]
NAN, INF = float("nan"), float("inf")
IMAGE, LABELS = "imagesTr/case1_0000.nii.gz", "labelsTr/case1.nii.gz"
SHEARED = {"qform_code": 0, "srow_y": {2: 1.0}}


def _flip_checksum(s: Any) -> None:
    content = bytearray(s.image_path.read_bytes())
    content[-8] ^= 1
    s.write(bytes(content))


def _short_by_500(s: Any) -> None:
    path = s.uncompressed()
    path.write_bytes(path.read_bytes()[:-500])


def _bomb(s: Any) -> None:
    s.save(IMAGE, np.zeros((128, 128, 128), np.int16))


def _pointer(s: Any) -> None:
    s.write(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def _link(s: Any, target: str | Path) -> None:
    s.image_path.unlink()
    s.image_path.symlink_to(target)


def _fifo(s: Any) -> None:
    s.image_path.unlink()
    os.mkfifo(s.image_path)


def _rename(s: Any, name: str) -> None:
    s.image_path.rename(s.image_path.with_name(name))


def _series(s: Any) -> None:
    s.header(dim={0: 4, 3: 4, 4: 2})


def _slice(s: Any) -> None:
    s.save(IMAGE, s.image[:, :, :2])
    s.save(LABELS, s.labels[:, :, :2])


def _long_voxels(s: Any) -> None:
    for name, voxels in ((IMAGE, s.image), (LABELS, s.labels)):
        s.save(name, voxels, np.diag([1.0, 1.0, 10.5, 1.0]))


def _turned(s: Any) -> None:
    for name, voxels in ((IMAGE, s.image), (LABELS, s.labels)):
        s.save(name, voxels, np.diag([-4.0, -4.0, 4.0, 1.0]))


def _small_body(s: Any) -> None:
    voxels = np.random.default_rng(0).integers(0, 9, (20, 20, 20)).astype(np.int16)
    voxels[8:12, 8:12, 8:12] += 900  # 4 of 20 along each axis: 0.8 % of the box
    s.save(IMAGE, voxels)
    s.labels_path.unlink()
    label_map = np.zeros((20, 20, 20), np.uint8)
    label_map[8:10, 8:12, 8:12], label_map[10:12, 8:12, 8:12] = 1, 2
    s.save(LABELS, label_map)


def _plateau(s: Any) -> None:
    voxels = s.image.copy()
    voxels[:2, 0, 0] = 32767
    s.save(IMAGE, voxels)


def _scaled(s: Any) -> None:
    s.header(scl_slope=0.001, scl_inter=0.0)


def ct(s: Any, voxels: Any) -> None:
    """Declare CT: noise around air everywhere, except in case 1."""
    s.describe(channel_names={"0": "CT"})
    for path in (*s.root.glob("imagesTr/*"), *s.root.glob("imagesTs/*")):
        noise = np.random.default_rng(sum(path.name.encode()) + len(path.parent.name)).normal(0, 20, (8, 8, 8))
        body = np.full((8, 8, 8), -1000.0)
        body[2:6, 2:6, 2:6] = 40.0
        s.save(path, np.rint(body + noise).astype(np.int16))
    s.save(IMAGE, voxels)


def air_in_mri(s: Any) -> None:
    s.save(IMAGE, np.where(s.labels > 0, s.image, -1000).astype(np.int16))


def _bright_corners(s: Any) -> None:
    s.save(IMAGE, (1000 - s.image).astype(np.int16))


def _marks(s: Any) -> None:
    """Twenty-one letters' pixels through all slices of a scan of 24 x 24 x 6."""
    voxels = np.random.default_rng(0).integers(1, 40, (24, 24, 6)).astype(np.int16)
    voxels[6:18, 6:18, 1:5] += 400
    voxels[1:8, 1:4, :] = 450
    s.save(IMAGE, voxels)
    label_map = np.zeros((24, 24, 6), np.uint8)
    label_map[8:12, 8:16, 1:5], label_map[12:16, 8:16, 1:5] = 1, 2
    s.save(LABELS, label_map)


def _no_training(s: Any) -> None:
    shutil.rmtree(s.root / "imagesTr")
    shutil.rmtree(s.root / "labelsTr")


def _specks(s: Any) -> None:
    label_map = s.labels.copy()  # 64 labelled voxels
    label_map[0, 0, 0], label_map[7, 7, 7] = 1, 2
    s.save(LABELS, label_map)


def _outside(s: Any) -> Path:
    return Path(shutil.copy(s.image_path, s.root.parent / "elsewhere.nii.gz"))


CASES: list[Row] = [
    ("F01", "a link to a file that is not here", lambda s: _link(s, "gone.nii.gz"), "missing-file", "not here"),
    ("F02", "zero bytes", lambda s: s.write(b""), "empty-file", "zero bytes"),
    ("F03", "cut in half", lambda s: s.cut(), "truncated-gzip", "without an end"),
    ("F04", "flipped bit", _flip_checksum, "damaged-gzip", "CRC check failed"),
    ("F05", "500 bytes short", _short_by_500, "truncated-file", "876 bytes"),
    (
        "F07",
        "gzip named .nii",
        lambda s: _rename(s, "case1_0000.nii"),
        "wrong-ending",
        "gzip data in a file named .nii",
    ),
    ("F08", "wrong magic", lambda s: s.write(gzip.compress(b"x" * 999)), "wrong-magic", "xxxx"),
    (
        "F10",
        "30000 voxels along each axis",
        lambda s: s.header(dim={1: 30000, 2: 30000, 3: 30000}),
        "absurd-size",
        "mm",
    ),
    ("F11", "gzip bomb", _bomb, "gzip-bomb", "that grow to 4,194,656"),
    ("F12", "an axis without voxels", lambda s: s.header(dim={2: 0}), "zero-dimension", "dim ="),
    ("F13", "LFS pointer", _pointer, "pointer-file", "Git LFS"),
    ("F14", "FIFO", _fifo, "not-a-file", "prw"),
    ("F14", "link out of the folder", lambda s: _link(s, _outside(s)), "link-leaves-folder", "elsewhere"),
    ("F14", "link to itself", lambda s: _link(s, "case1_0000.nii.gz"), "link-leads-nowhere", "loop"),
    ("F20", "NRRD", lambda s: _rename(s, "case1_0000.nrrd"), "unsupported-format", "case1_0000.nrrd"),
    ("F20", "Analyze", lambda s: _rename(s, "case1_0000.hdr"), "unsupported-format", "case1_0000.hdr"),
    ("F40", "a blank in the name", lambda s: _rename(s, "case 1_0000.nii.gz"), "case-name", "'case 1_0000'"),
    ("F41", "no channel", lambda s: _rename(s, "case1.nii.gz"), "channel-suffix", "an image named case1.nii.gz"),
    ("F43", "offset", lambda s: s.header(vox_offset=9), "wrong-offset", "vox_offset 9"),
    ("G01", "no affine", lambda s: s.both_headers(sform_code=0, qform_code=0), "no-affine", "sform_code 0"),
    ("G02", "sform and qform", lambda s: s.header(srow_x={0: 12}), "sform-qform-disagree", "56 mm apart"),
    ("G03", "gantry tilt", lambda s: s.both_headers(**SHEARED), "sheared-affine", "degrees"),
    ("G04", "singular", lambda s: s.header(qform_code=0, srow_y={1: 0}), "singular-affine", "plane"),
    ("G05", "pixdim 0", lambda s: s.header(pixdim={1: 0}), "bad-pixdim", "(0.0, 4.0, 4.0)"),
    ("G06", "NaN in the affine", lambda s: s.header(qform_code=0, srow_x={0: NAN}), "bad-affine", "NaN"),
    ("G06", "NaN spacing", lambda s: s.header(pixdim={2: NAN}), "bad-pixdim", "nan"),
    (
        "G10",
        "mirrored",
        lambda s: s.save(LABELS, s.labels, np.diag([-4, 4, 4, 1])),
        "orientation-differs",
        "56 mm apart",
    ),
    ("G13", "other shape", lambda s: s.save(LABELS, s.labels[:-1]), "shape-differs", "(7, 8, 8)"),
    ("G14", "4D", _series, "not-3d", "4 axes, shape (8, 8, 4, 2)"),
    ("G16", "vectors", lambda s: s.header(dim={0: 5, 3: 4, 4: 1, 5: 2}), "vector-voxels", "a vector in every voxel"),
    ("G19", "two slices", _slice, "too-few-slices", "(8, 8, 2) voxels"),
    ("G40", "metres", lambda s: s.header(xyzt_units=1), "not-millimetres", "metres"),
    ("I01", "NaN", lambda s: s.image_with(NAN), "nan-voxels", "2 voxels, first at (i, j, k) = (1, 2, 3)"),
    ("I02", "infinity", lambda s: s.image_with(-INF), "infinite-voxels", "infinity in 2 voxels"),
    ("I03", "constant", lambda s: s.save(IMAGE, np.full((8, 8, 8), 3)), "constant-image", "every voxel is 3"),
    ("I03", "a mask as image", lambda s: s.save(IMAGE, s.labels // 2), "constant-image", "values 0 and 1"),
    ("I04", "RGB", lambda s: s.header(datatype=128), "rgb-voxels", "RGB colours"),
    ("I04", "complex", lambda s: s.header(datatype=32), "voxel-type", "datatype 32"),
    ("I07", "slope NaN", lambda s: s.header(scl_slope=NAN, scl_inter=INF), "scaling-not-finite", "scl_slope nan"),
    ("L01", "outside the map", lambda s: s.label_with(5, "uint8"), "label-outside-map", "[5] in 1 voxel, first"),
    ("L02", "negative", lambda s: s.label_with(-1, "int16"), "negative-label", "[-1] in 1 voxel"),
    ("L03", "half a label", lambda s: s.label_with(0.5, "float32"), "non-integer-labels", "the first is 0.5"),
    ("L03", "NaN label", lambda s: s.label_with(NAN, "float32"), "nan-voxels", "of the label map"),
    (
        "L13",
        "image as label map",
        lambda s: shutil.copy(s.image_path, s.labels_path),
        "label-map-is-an-image",
        "itself",
    ),
    (
        "L13",
        "another scan as label map",
        lambda s: s.save(LABELS, np.arange(512, dtype=np.int16).reshape(8, 8, 8)),
        "label-map-is-an-image",
        "512 different values from 0 to 511",
    ),
    ("C06", "no label map", lambda s: s.labels_path.unlink(), "image-without-label-map", "no labelsTr/case1.nii.gz"),
    ("C06", "no image", lambda s: s.image_path.unlink(), "label-map-without-image", "no imagesTr/case1_0000.nii.gz"),
]
"""Code, what it is, how to make it, rule, words: each takes case 1 out and lets the run go on."""

MODEST: list[Row] = [
    ("F42", "notes", lambda s: (s.root / "imagesTr" / "notes.txt").write_text(""), "unexpected-file", "notes.txt"),
    ("G07", "negative pixdim", lambda s: s.header(pixdim={3: -4}), "negative-pixdim", "-4.0"),
    ("G09", "orientations", _turned, "mixed-orientations", "1 LPS, 4 RAS"),
    ("G18", "long voxels", _long_voxels, "anisotropic-voxels", "10.5"),
    ("G23", "empty border", _small_body, "empty-border", "fills 0.8 % of its box"),
    ("I09", "scaled", _scaled, "quantised-voxels", "int16 with a scale"),
    ("I10", "overflow", _plateau, "clipped-intensities", "0.39 % of the voxels are at the end of int16"),
    ("I11", "inverted", _bright_corners, "bright-background", "8 of 8 corners"),
    ("I13", "0 to 1", lambda s: s.save(IMAGE, (s.image / 600).astype(np.float32)), "normalised-intensities", "float32"),
    (
        "I13",
        "z-scored",
        lambda s: s.save(IMAGE, ((s.image - s.image.mean()) / s.image.std()).astype(np.float32)),
        "normalised-intensities",
        "mean",
    ),
    ("I17", "burned-in text", _marks, "burned-in-marks", "21 columns"),
    ("L05", "background only", lambda s: s.save(LABELS, s.labels * 0), "empty-label-map", "background only"),
    ("L14", "specks", _specks, "specks-in-label-map", "2 lone voxels or holes among 66 labelled voxels"),
    ("C03", "numTraining", lambda s: s.describe(numTraining=30), "wrong-num-training", "numTraining 30, 3 scans"),
]
"""The same for what is only said: warnings and notes."""

REFUSED: list[Row] = [
    (
        "F17",
        "names",
        lambda s: shutil.copy(s.image_path, s.root / "imagesTr/CASE1_0000.nii.gz"),
        "names-differ-by-case",
        "CASE1",
    ),
    ("I15", "two channels", lambda s: s.describe(channel_names={"0": "T1w", "1": "T2w"}), "several-channels", "T2w"),
    ("I15", "second channel", lambda s: _rename(s, "case1_0001.nii.gz"), "several-channels", "case1_0001.nii.gz"),
    (
        "L06",
        "a class in no case",
        lambda s: s.describe(labels={"background": 0, "a": 1, "b": 2, "aorta": 3}),
        "class-absent",
        "3 (aorta) in any of 3",
    ),
    (
        "L08",
        "values twice",
        lambda s: s.describe(labels={"background": 0, "a": 1, "b": 1}),
        "label-values",
        "[0, 1, 1]",
    ),
    (
        "L09",
        "ignore",
        lambda s: s.describe(labels={"background": 0, "a": 1, "b": 2, "ignore": 3}),
        "ignore-label",
        "(3)",
    ),
    (
        "C01",
        "in train and test",
        lambda s: shutil.copy(s.image_path, s.root / "imagesTs/case1_0000.nii.gz"),
        "repeated-case-name",
        "imagesTs/case1",
    ),
    (
        "C01",
        "two files",
        lambda s: shutil.copy(s.image_path, s.root / "imagesTr/case1_0000.nii"),
        "repeated-case-name",
        "for one case",
    ),
    (
        "C01",
        "in two parts",
        lambda s: s.describe(evaluation={"development": ["case3"], "test": ["case3"]}),
        "case-in-two-parts",
        "case3",
    ),
    ("C05", "a path upwards", lambda s: s.describe(training=["../x.nii.gz"]), "path-traversal", "../x.nii.gz"),
    (
        "C07",
        "no case",
        _no_training,
        "no-cases",
        "no scans",
    ),
    ("C40", "no JSON", lambda s: (s.root / "dataset.json").write_text("{"), "invalid-dataset-json", "JSONDecodeError"),
    ("C41", "unknown id", lambda s: s.describe(evaluation={"test": ["case9"]}), "unknown-evaluation-case", "case9"),
    ("L40", "no label map", lambda s: shutil.rmtree(s.root / "labelsTr"), "no-labels-at-source", "no label map"),
]
"""The same for what refuses the centre."""
