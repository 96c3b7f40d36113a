"""Which scans are looked at."""

import json
from pathlib import Path

import pytest

from diffuse_uda.errors import InputError
from diffuse_uda.review.scans import find_scans, with_predictions, with_references


def _touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_folder_s_scans_are_sorted_by_their_names_without_the_channel(tmp_path: Path) -> None:
    _touch(tmp_path / "b_0000.nii.gz", tmp_path / "a.nii", tmp_path / "notes.txt")
    assert [scan.case_id for scan in find_scans([tmp_path])] == ["a", "b"]


def test_a_single_file_is_enough(tmp_path: Path) -> None:
    _touch(tmp_path / "a_0000.nii.gz")
    assert [scan.case_id for scan in find_scans([tmp_path / "a_0000.nii.gz"])] == ["a"]


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path / "a_0000.nii.gz", tmp_path / "more" / "A.nii.gz")
    with pytest.raises(InputError, match="repeated-case-name"):
        find_scans([tmp_path, tmp_path / "more"])


def test_nothing_to_look_at_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-cases"):
        find_scans([tmp_path])


def test_what_lies_aside_is_taken_by_name(tmp_path: Path) -> None:
    _touch(tmp_path / "scans" / "a_0000.nii.gz", tmp_path / "scans" / "b_0000.nii.gz", tmp_path / "found" / "b.nii.gz")
    scans = with_predictions(find_scans([tmp_path / "scans"]), tmp_path / "found")
    assert [scan.prediction for scan in scans] == [None, tmp_path / "found" / "b.nii.gz"]
    assert [scan.reference for scan in with_references(scans, tmp_path / "found")] == [
        None,
        tmp_path / "found" / "b.nii.gz",
    ]


def test_of_a_centre_no_label_map_of_a_training_scan_is_taken(tmp_path: Path) -> None:
    _touch(*(tmp_path / "imagesTr" / f"{name}_0000.nii.gz" for name in "ab"), tmp_path / "labelsTr" / "a.nii.gz")
    _touch(*(tmp_path / "imagesTs" / f"{name}_0000.nii.gz" for name in "cd"), tmp_path / "labelsTs" / "c.nii.gz")
    description = {
        "channel_names": {"0": "FLAIR"},
        "labels": {"background": 0, "core": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    references = {scan.case_id: scan.reference for scan in find_scans([tmp_path])}
    assert references == {"a": None, "b": None, "c": tmp_path / "labelsTs" / "c.nii.gz", "d": None}
