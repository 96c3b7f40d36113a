"""Every row of the catalogue of bad input: the file is made, and the gate says its rule, its case, what it found."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse_uda.data.intake import IntakeReport, Verdict, check_centre, examine_centre
from diffuse_uda.data.rules import RULES, Reaction
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.types import SiteRole

Spoil = Callable[[Any], Any]
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


def _ct(s: Any, voxels: Any) -> None:
    """Declare CT: noise around air everywhere, except in case 1."""
    s.describe(channel_names={"0": "CT"})
    for path in (*s.root.glob("imagesTr/*"), *s.root.glob("imagesTs/*")):
        noise = np.random.default_rng(sum(path.name.encode()) + len(path.parent.name)).normal(0, 20, (8, 8, 8))
        body = np.full((8, 8, 8), -1000.0)
        body[2:6, 2:6, 2:6] = 40.0
        s.save(path, np.rint(body + noise).astype(np.int16))
    s.save(IMAGE, voxels)


def _air_in_mri(s: Any) -> None:
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


CASES: list[tuple[str, str, Spoil, str, str]] = [
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
    ("F13", "LFS pointer", lambda s: s.write(b""), "empty-file", "zero"),
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

MODEST: list[tuple[str, str, Spoil, str, str]] = [
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

REFUSED: list[tuple[str, str, Spoil, str, str]] = [
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


def _found(report: IntakeReport, rule: str) -> Finding:
    return next(finding for finding in report.findings if finding.rule == rule)


def _ids(rows: list[tuple[str, str, Spoil, str, str]]) -> list[str]:
    return [f"{code} {name}" for code, name, *_ in rows]


@pytest.mark.parametrize(("code", "name", "spoil", "rule", "words"), CASES, ids=_ids(CASES))
def test_a_broken_case_is_quarantined_and_the_run_goes_on_with_the_rest(  # noqa: PLR0917 - a row
    spoiler: Any, code: str, name: str, spoil: Spoil, rule: str, words: str
) -> None:
    spoil(spoiler)
    report = spoiler.examine()
    finding = _found(report, rule)
    assert words in finding.found, name
    assert (finding.centre, finding.wanted != "", finding.fix != "") == ("leeds", True, True)
    assert finding.case.startswith("case")
    assert Path(finding.file).parent.name in {"imagesTr", "labelsTr"}
    assert RULES[rule].reaction is Reaction.CASE
    assert RULES[rule].code == code or code in {"F13", "G06", "L03"}
    assert {other.rule for other in report.quarantined} <= {rule, "label-map-without-image"}
    assert report.verdict is Verdict.LOOK
    assert [case.case_id for case in report.centre.train] == ["case0", "case2"]
    assert [case.case_id for case in report.centre.test] == ["case3", "case4"]


@pytest.mark.parametrize(("code", "name", "spoil", "rule", "words"), MODEST, ids=_ids(MODEST))
def test_what_is_odd_is_said_and_the_case_takes_part(  # noqa: PLR0917 - a row
    spoiler: Any, code: str, name: str, spoil: Spoil, rule: str, words: str
) -> None:
    spoil(spoiler)
    report = spoiler.examine()
    assert [finding.rule for finding in report.findings] == [rule]
    assert words in report.findings[0].found, name
    assert RULES[rule].code == code
    assert RULES[rule].reaction in {Reaction.WARN, Reaction.NOTE}
    assert report.verdict is (Verdict.LOOK if RULES[rule].reaction is Reaction.WARN else Verdict.FINE)
    assert [case.case_id for case in report.centre.train] == ["case0", "case1", "case2"]


@pytest.mark.parametrize(("code", "name", "spoil", "rule", "words"), REFUSED, ids=_ids(REFUSED))
def test_what_concerns_the_whole_folder_refuses_the_centre(  # noqa: PLR0917 - a row
    spoiler: Any, code: str, name: str, spoil: Spoil, rule: str, words: str
) -> None:
    spoil(spoiler)
    report = spoiler.examine()
    finding = _found(report, rule)
    assert words in finding.found, name
    assert (RULES[rule].code, RULES[rule].reaction) == (code, Reaction.RUN)
    assert report.verdict is Verdict.REFUSED
    with pytest.raises(InputError, match=f"\\[{rule}\\]"):
        check_centre(spoiler.root, SiteRole.SOURCE, site_id="leeds", num_workers=1)


def test_g11_a_label_map_half_a_metre_away_is_quarantined(spoiler: Any) -> None:
    affine_mm = np.diag([4.0, 4.0, 4.0, 1.0])
    affine_mm[0, 3] = 500.0
    spoiler.save(LABELS, spoiler.labels, affine_mm)
    assert "500 mm apart" in _found(spoiler.examine(), "place-differs").found


def test_g12_affines_that_differ_by_rounding_are_accepted(spoiler: Any) -> None:
    affine_mm = np.diag([4.0, 4.0, 4.0, 1.0])
    affine_mm[0, 0] += 1e-5
    spoiler.save(LABELS, spoiler.labels, affine_mm)
    assert spoiler.examine().findings == ()


@pytest.mark.parametrize("kind", ["offset missing", "inverted"])
def test_i11_a_ct_that_is_not_in_hounsfield_units_is_quarantined(spoiler: Any, kind: str) -> None:
    body = np.where(spoiler.labels > 0, 40, -1000) + np.arange(512).reshape(8, 8, 8) % 7
    _ct(spoiler, (body + 1024 if kind == "offset missing" else -body).astype(np.int16))
    report = spoiler.examine()
    rule = "not-hounsfield" if kind == "offset missing" else "inverted-ct"
    assert [(finding.rule, finding.case) for finding in report.quarantined] == [(rule, "case1")]
    # One of five scans is more than a tenth: `not-hounsfield` may as well mean that it is no CT.
    assert [finding.rule for finding in report.refusals] == (["wrong-modality"] if rule == "not-hounsfield" else [])


def test_i12_a_tenth_of_scans_of_another_modality_refuses_the_centre(spoiler: Any) -> None:
    _air_in_mri(spoiler)
    report = spoiler.examine()
    assert [(finding.rule, finding.case) for finding in report.quarantined] == [("modality-mismatch", "case1")]
    finding = _found(report, "wrong-modality")
    assert finding.found == "1 of 5 scans are not what channel_names ('T1w') says"
    spoiler.describe(channel_names={"0": "image"})
    assert spoiler.examine().findings == ()


def test_i18_the_later_of_two_equal_scans_is_quarantined(spoiler: Any) -> None:
    spoiler.save("imagesTs/case3_0000.nii.gz", spoiler.image)
    finding = _found(spoiler.examine(), "repeated-image")
    assert (finding.case, finding.found) == ("case3", "the same voxels as case case1 (imagesTr/case1_0000.nii.gz)")


def test_i18_scans_that_differ_in_one_voxel_are_two(spoiler: Any) -> None:
    voxels = spoiler.image.copy()
    voxels[0, 0, 0] += 1
    spoiler.save("imagesTs/case3_0000.nii.gz", voxels)
    assert spoiler.examine().findings == ()


def test_l03_labels_stored_as_rounded_floats_are_accepted(spoiler: Any) -> None:
    # What a uint8 header with a slope makes of 0, 1, 2.
    spoiler.save(LABELS, spoiler.labels.astype(np.float32) * 0.996)
    assert spoiler.examine().findings == ()


def test_l05_a_plan_that_demands_foreground_quarantines_an_empty_label_map(spoiler: Any) -> None:
    spoiler.save(LABELS, spoiler.labels * 0)
    report = spoiler.examine(demands_foreground=True)
    assert [(finding.rule, finding.case) for finding in report.findings] == [("no-foreground", "case1")]


def test_l07_a_class_that_no_scored_case_shows_is_a_warning(spoiler: Any) -> None:
    for name in ("case3", "case4"):
        spoiler.save(f"labelsTs/{name}.nii.gz", np.minimum(spoiler.labels, 1))
    report = spoiler.examine()
    assert [(finding.rule, finding.found) for finding in report.findings] == [
        ("class-absent-here", "no voxel of 2 (myocardium) in any of 2 scored cases")
    ]


def test_l08_label_values_with_gaps_are_accepted_through_the_map(spoiler: Any) -> None:
    spoiler.describe(labels={"background": 0, "ventricle": 205, "myocardium": 420})
    for path in (*spoiler.root.glob("labelsTr/*"), *spoiler.root.glob("labelsTs/*")):
        spoiler.save(path, np.array([0, 205, 420], np.int16)[spoiler.labels])
    assert spoiler.examine().findings == ()
    spoiler.label_with(1, "int16")
    assert "[1, 2]" in _found(spoiler.examine(), "label-outside-map").found


def test_l15_labels_of_the_source_must_be_the_targets_labels(spoiler: Any) -> None:
    wanted = {0: "background", 1: "myocardium", 2: "ventricle", 3: "aorta"}
    report = examine_centre(spoiler.root, SiteRole.TARGET, site_id="leeds", label_names=wanted, num_workers=1)
    assert _found(report, "label-maps-differ").found == (
        "1: 'ventricle' here, 'myocardium' there; 2: 'myocardium' here, 'ventricle' there; "
        "3: '(missing)' here, 'aorta' there"
    )
    same = {0: "background", 1: "ventricle", 2: "myocardium"}
    check_centre(spoiler.root, SiteRole.TARGET, site_id="leeds", label_names=same, num_workers=1)


def test_l16_training_labels_of_a_target_are_ignored_and_said(spoiler: Any) -> None:
    spoiler.labels_path.write_bytes(b"never opened")
    report = spoiler.examine(SiteRole.TARGET)
    assert [finding.rule for finding in report.findings] == ["target-has-training-labels"]
    assert [case.label_map for case in report.centre.train] == [None, None, None]


def test_c07_a_centre_that_loses_more_than_half_of_its_scans_is_refused(spoiler: Any) -> None:
    for name in ("case0", "case1"):
        (spoiler.root / f"imagesTr/{name}_0000.nii.gz").write_bytes(b"")
    report = spoiler.examine()
    assert _found(report, "too-few-left").found == "1 of 3 training scans are left"
    assert [case.case_id for case in report.centre.train] == ["case2"]


def test_c07_losing_half_of_the_scans_is_no_refusal_and_one_scan_is_a_warning(spoiler: Any) -> None:
    (spoiler.root / "imagesTr/case0_0000.nii.gz").unlink()
    (spoiler.root / "labelsTr/case0.nii.gz").unlink()
    spoiler.describe(numTraining=2)
    spoiler.write(b"")
    assert [finding.rule for finding in spoiler.examine().findings] == ["empty-file", "few-cases"]


def test_f15_a_file_without_permission_is_quarantined(spoiler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def deny(path: Path, *args: Any, **named: Any) -> Any:
        if path == spoiler.image_path:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **named)

    monkeypatch.setattr(Path, "open", deny)
    finding = _found(spoiler.examine(), "unreadable-file")
    assert (finding.case, finding.found) == ("case1", "Permission denied")


def test_f01_f14_f15_folders_that_cannot_be_used_refuse_the_centre(tmp_path: Path, spoiler: Any) -> None:
    nowhere = examine_centre(tmp_path / "nowhere", SiteRole.TARGET, site_id="leeds", num_workers=1)
    assert [finding.rule for finding in nowhere.refusals] == ["missing-folder"]
    (tmp_path / "empty").mkdir()
    empty = examine_centre(tmp_path / "empty", SiteRole.TARGET, site_id="leeds", num_workers=1)
    assert [finding.rule for finding in empty.refusals] == ["invalid-dataset-json", "no-cases"]
    shutil.rmtree(spoiler.root / "labelsTs")
    (spoiler.root / "labelsTs").symlink_to(tmp_path / "empty")
    assert [finding.rule for finding in spoiler.examine().refusals] == ["folder-outside"]
    (spoiler.root / "labelsTs").unlink()
    (spoiler.root / "labelsTs").touch()
    assert [finding.rule for finding in spoiler.examine().refusals] == ["unreadable-folder"]


def test_f44_megabytes_behind_the_last_voxel_are_refused(spoiler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffuse_uda.data.volumes.MAX_TRAILING_BYTES", 100)
    spoiler.write(gzip.compress(gzip.decompress(spoiler.image_path.read_bytes()) + bytes(200)))
    assert "more than 100 bytes" in _found(spoiler.examine(), "trailing-data").found
