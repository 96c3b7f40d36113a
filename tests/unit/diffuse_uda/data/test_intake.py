"""The gate: every kind of bad input stops before round 1 with its rule, its case and its file."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse_uda.data.intake import IntakeReport, check_centre, check_federation
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.types import SiteRole

MakeCentre = Callable[..., Path]
SOURCE, TARGET = SiteRole.SOURCE, SiteRole.TARGET
IMAGE, LABELS = "imagesTr/case1_0000.nii.gz", "labelsTr/case1.nii.gz"


def _findings(root: Path, role: SiteRole = SOURCE, **options: Any) -> list[Finding]:
    with pytest.raises(InputError) as caught:
        check_centre(root, role, site_id="leeds", **options)
    return caught.value.findings


def _pass(root: Path, role: SiteRole = SOURCE) -> IntakeReport:
    return check_centre(root, role, site_id="leeds")


class Spoiler:
    """Ways to spoil a sound centre."""

    def __init__(self, root: Path, write: Callable[..., Path], label_voxels: Callable[..., Any]) -> None:
        self.root = root
        self.write = write
        self.labels = label_voxels()
        self.image = load_volume(root / IMAGE).voxels

    def image_with(self, value: float) -> None:
        voxels = self.image.astype(np.float32)
        voxels[1, 2, 3] = voxels[4, 4, 4] = value
        self.write(self.root / IMAGE, voxels)

    def label_with(self, value: float, dtype: str) -> None:
        voxels = self.labels.astype(dtype)
        voxels[1, 2, 3] = value
        self.write(self.root / LABELS, voxels)

    def cut(self, name: str) -> None:
        path = self.root / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def time_series(self) -> None:
        path = self.root / IMAGE
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[40:56] = np.array([4, 8, 8, 4, 2, 1, 1, 1], dtype="<i2").tobytes()
        path.write_bytes(gzip.compress(content))


@pytest.fixture
def spoiler(make_centre: MakeCentre, write_volume: Callable[..., Path], label_voxels: Callable[..., Any]) -> Spoiler:
    return Spoiler(make_centre(), write_volume, label_voxels)


BAD_CENTRES: list[tuple[str, Callable[[Spoiler], Any], str, str, str]] = [
    ("NaN", lambda s: s.image_with(np.nan), "non-finite-voxels", IMAGE, "2 voxels, first at (i, j, k) = (1, 2, 3)"),
    ("infinity", lambda s: s.image_with(-np.inf), "non-finite-voxels", IMAGE, "2 voxels, first at"),
    ("constant", lambda s: s.write(s.root / IMAGE, np.full((8, 8, 8), 3)), "constant-image", IMAGE, "voxel is 3"),
    ("a mask as image", lambda s: s.write(s.root / IMAGE, s.labels // 2), "constant-image", IMAGE, "values 0 and 1"),
    ("truncated image", lambda s: s.cut(IMAGE), "damaged-gzip", IMAGE, "truncated"),
    ("truncated label map", lambda s: s.cut(LABELS), "damaged-gzip", LABELS, "truncated"),
    ("zero bytes", lambda s: (s.root / IMAGE).write_bytes(b""), "empty-file", IMAGE, "zero bytes"),
    ("wrong magic", lambda s: (s.root / IMAGE).write_bytes(gzip.compress(b"x" * 999)), "wrong-magic", IMAGE, "xxxx"),
    ("4D", lambda s: s.time_series(), "not-3d", IMAGE, "4 axes, shape (8, 8, 4, 2)"),
    ("label outside the map", lambda s: s.label_with(5, "uint8"), "label-outside-map", LABELS, "[5] in 1 voxel, first"),
    ("negative label", lambda s: s.label_with(-1, "int16"), "negative-label", LABELS, "[-1] in 1 voxel"),
    ("half a label", lambda s: s.label_with(0.5, "float32"), "non-integer-labels", LABELS, "the first is 0.5"),
    ("NaN label", lambda s: s.label_with(np.nan, "float32"), "non-finite-voxels", LABELS, "of the label map"),
    ("other shape", lambda s: s.write(s.root / LABELS, s.labels[:-1]), "grids-differ", LABELS, "(7, 8, 8)"),
    (
        "other place",
        lambda s: s.write(s.root / LABELS, s.labels, np.diag([-4.0, 4, 4, 1])),
        "grids-differ",
        LABELS,
        "put the same voxel 56 mm apart",
    ),
    (
        "image as label map",
        lambda s: shutil.copy(s.root / IMAGE, s.root / LABELS),
        "label-map-is-an-image",
        LABELS,
        "the scan itself",
    ),
    (
        "another scan as label map",
        lambda s: s.write(s.root / LABELS, np.arange(512, dtype=np.int16).reshape(8, 8, 8)),
        "label-map-is-an-image",
        LABELS,
        "512 different values from 0 to 511",
    ),
    ("no label map", lambda s: (s.root / LABELS).unlink(), "image-without-label-map", IMAGE, "no labelsTr/case1"),
    ("no image", lambda s: (s.root / IMAGE).unlink(), "label-map-without-image", LABELS, "no imagesTr/case1_0000"),
    (
        "the same image twice",
        lambda s: s.write(s.root / "imagesTs/case3_0000.nii.gz", s.image),
        "repeated-image",
        "imagesTs/case3_0000.nii.gz",
        "the same voxels as case case1 (imagesTr/case1_0000.nii.gz)",
    ),
    (
        "gzip named .nii",
        lambda s: (s.root / IMAGE).rename((s.root / IMAGE).with_suffix("")),
        "wrong-ending",
        IMAGE.removesuffix(".gz"),
        "gzip data in a file named .nii",
    ),
]


@pytest.mark.parametrize(
    ("spoil", "rule", "file", "words"), [row[1:] for row in BAD_CENTRES], ids=[row[0] for row in BAD_CENTRES]
)
def test_bad_input_is_refused_with_rule_case_and_file(
    spoiler: Spoiler, spoil: Callable[[Spoiler], Any], rule: str, file: str, words: str
) -> None:
    spoil(spoiler)
    findings = _findings(spoiler.root)
    assert [finding.rule for finding in findings] == [rule]
    finding = findings[0]
    assert finding.centre == "leeds"
    assert finding.case == ("case3" if "case3" in file else "case1")
    assert finding.file == str(spoiler.root / file)
    assert words in finding.found
    assert finding.wanted
    assert finding.fix


def test_sound_source_and_sound_target_pass_without_warnings(make_centre: MakeCentre) -> None:
    source = _pass(make_centre("source"))
    target = _pass(make_centre("target", labelled=False), TARGET)
    assert source.warnings == target.warnings == []
    assert (source.role, target.role) == (SOURCE, TARGET)
    assert all(case.label_map for case in source.centre.train)


def test_all_problems_of_all_cases_come_together(make_centre: MakeCentre) -> None:
    root = make_centre()
    (root / "imagesTr" / "case0_0000.nii.gz").write_bytes(b"")
    (root / "labelsTr" / "case1.nii.gz").unlink()
    (root / "labelsTs" / "case4.nii.gz").write_bytes(b"")
    assert {(finding.case, finding.rule) for finding in _findings(root)} == {
        ("case0", "empty-file"),
        ("case1", "image-without-label-map"),
        ("case4", "empty-file"),
    }


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    assert [finding.rule for finding in _findings(tmp_path / "nowhere")] == ["missing-folder"]
    assert [finding.rule for finding in _findings(tmp_path)] == ["invalid-dataset-json", "no-cases"]


def test_source_without_any_label_map_is_one_problem(make_centre: MakeCentre) -> None:
    findings = _findings(make_centre(labelled=False))
    assert [finding.rule for finding in findings] == ["no-labels-at-source"]
    assert "3 scans in imagesTr and no label map" in findings[0].found


def test_a_source_may_declare_scans_without_labels_but_not_all_of_them(make_centre: MakeCentre) -> None:
    root = make_centre(unlabelled=["case1", "case2"])
    (root / "labelsTr" / "case2.nii.gz").unlink()
    report = check_centre(root, SiteRole.SOURCE, site_id="leeds")
    assert [case.label_map is not None for case in report.centre.train] == [True, False, False]
    with pytest.raises(InputError) as caught:
        check_centre(make_centre("york", unlabelled=["case0", "case1", "case2"]), SiteRole.SOURCE, site_id="york")
    assert "no-labels-at-source" in [finding.rule for finding in caught.value.findings]


def test_class_that_no_source_case_shows_is_refused(make_centre: MakeCentre) -> None:
    findings = _findings(make_centre(labels={"background": 0, "ventricle": 1, "myocardium": 2, "aorta": 3}))
    assert [finding.rule for finding in findings] == ["class-absent"]
    assert "no voxel of 3 (aorta) in any of 3 training cases" in findings[0].found


def test_class_is_not_called_absent_when_a_label_map_could_not_be_read(make_centre: MakeCentre) -> None:
    root = make_centre(labels={"background": 0, "ventricle": 1, "myocardium": 2, "aorta": 3})
    (root / LABELS).write_bytes(b"")
    assert [finding.rule for finding in _findings(root)] == ["empty-file"]


def test_labels_stored_as_rounded_floats_are_accepted(
    make_centre: MakeCentre, write_volume: Callable[..., Path], label_voxels: Callable[..., Any]
) -> None:
    # What a uint8 header with a slope makes of 0, 1, 2.
    root = make_centre()
    write_volume(root / LABELS, label_voxels().astype(np.float32) * 0.996)
    assert _pass(root).warnings == []


def test_labels_of_the_source_must_be_the_targets_labels(make_centre: MakeCentre) -> None:
    root = make_centre(labelled=False)
    wanted = {0: "background", 1: "myocardium", 2: "ventricle", 3: "aorta"}
    findings = _findings(root, TARGET, label_names=wanted)
    assert [finding.rule for finding in findings] == ["label-maps-differ"]
    assert findings[0].found == (
        "1: 'ventricle' here, 'myocardium' there; 2: 'myocardium' here, 'ventricle' there; "
        "3: '(missing)' here, 'aorta' there"
    )
    check_centre(root, TARGET, site_id="leeds", label_names={0: "background", 1: "ventricle", 2: "myocardium"})


def test_training_labels_of_a_target_are_ignored_with_a_warning(make_centre: MakeCentre) -> None:
    root = make_centre()
    (root / LABELS).write_bytes(b"never opened")
    report = _pass(root, TARGET)
    assert [warning.rule for warning in report.warnings] == ["target-has-training-labels"]
    assert [case.label_map for case in report.centre.train] == [None, None, None]


def test_wrong_count_is_a_warning(make_centre: MakeCentre) -> None:
    warnings = _pass(make_centre(numTraining=30)).warnings
    assert [warning.found for warning in warnings] == ["numTraining 30, 3 scans in imagesTr"]


def test_empty_label_map_and_long_voxels_are_warnings(
    make_centre: MakeCentre, write_volume: Callable[..., Path], scan_voxels: Callable[..., Any]
) -> None:
    root = make_centre()
    affine_mm = np.diag([1.0, 1.0, 10.5, 1.0])
    write_volume(root / IMAGE, scan_voxels(99), affine_mm)
    write_volume(root / LABELS, np.zeros((8, 8, 8), np.uint8), affine_mm)
    assert [(w.rule, w.case) for w in _pass(root).warnings] == [
        ("anisotropic-voxels", "case1"),
        ("empty-label-map", "case1"),
    ]


def test_broken_description_does_not_hide_broken_scans(make_centre: MakeCentre) -> None:
    root = make_centre()
    (root / "dataset.json").write_text("{")
    (root / IMAGE).write_bytes(b"")
    assert [finding.rule for finding in _findings(root)] == ["invalid-dataset-json", "empty-file"]


def test_message_names_centre_case_file_rule_found_wanted_and_fix(make_centre: MakeCentre) -> None:
    root = make_centre()
    (root / IMAGE).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        _pass(root)
    text = str(caught.value)
    for part in ("1 problem", "[empty-file]", "centre leeds", "case case1", str(root / IMAGE), "wanted:", "fix:"):
        assert part in text


def test_every_scan_is_opened_once(make_centre: MakeCentre, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def load_and_count(path: Path) -> Any:
        opened.append(path.name)
        return load_volume(path)

    monkeypatch.setattr("diffuse_uda.data.intake.load_volume", load_and_count)
    _pass(make_centre())
    assert len(opened) == len(set(opened)) == 10


def test_one_source_and_some_targets_are_a_federation() -> None:
    check_federation([("oslo", SOURCE), ("leeds", TARGET), ("porto", TARGET)])


@pytest.mark.parametrize(
    ("sites", "rules"),
    [
        ([], ["no-source", "no-targets"]),
        ([("oslo", SOURCE)], ["no-targets"]),
        ([("leeds", TARGET)], ["no-source"]),
        ([("oslo", SOURCE), ("bern", SOURCE), ("leeds", TARGET)], ["several-sources"]),
        ([("oslo", SOURCE), ("leeds", TARGET), ("Leeds", TARGET)], ["repeated-site-name"]),
    ],
)
def test_what_is_no_federation_is_refused(sites: list[tuple[str, SiteRole]], rules: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_federation(sites)
    assert [finding.rule for finding in caught.value.findings] == rules
