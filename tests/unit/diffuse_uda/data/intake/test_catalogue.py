"""Every row of the catalogue of bad input: the file is made, and the gate says its rule, its case, what it found."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse_uda.data.intake import IntakeReport, Verdict, check_centre, examine_centre
from diffuse_uda.data.rules import RULES, Reaction
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.types import SiteRole
from tests.bad_inputs import CASES, LABELS, MODEST, REFUSED, Row, Spoil, air_in_mri, ct


def _found(report: IntakeReport, rule: str) -> Finding:
    return next(finding for finding in report.findings if finding.rule == rule)


def _ids(rows: list[Row]) -> list[str]:
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
    assert RULES[rule].code == code or code in {"G06", "L03"}
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
    ct(spoiler, (body + 1024 if kind == "offset missing" else -body).astype(np.int16))
    report = spoiler.examine()
    rule = "not-hounsfield" if kind == "offset missing" else "inverted-ct"
    assert [(finding.rule, finding.case) for finding in report.quarantined] == [(rule, "case1")]
    # One of five scans is more than a tenth: `not-hounsfield` may as well mean that it is no CT.
    assert [finding.rule for finding in report.refusals] == (["wrong-modality"] if rule == "not-hounsfield" else [])


def test_i12_a_tenth_of_scans_of_another_modality_refuses_the_centre(spoiler: Any) -> None:
    air_in_mri(spoiler)
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
