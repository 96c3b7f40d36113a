"""Only plain files inside the centre's folder are listed; everything else is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffuse_uda.data.formats.folder_listing import list_files


def _rules(root: Path, folder: str = "imagesTr") -> list[str]:
    return [problem.rule for problem in list_files(root, folder, "leeds").problems]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "centre" / "imagesTr").mkdir(parents=True)
    return tmp_path / "centre"


def test_scans_are_sorted_and_hidden_files_are_nobodys(root: Path) -> None:
    for name in ("b_0000.nii", "a_0000.nii.gz", ".DS_Store", "._a_0000.nii.gz"):
        (root / "imagesTr" / name).touch()
    listing = list_files(root, "imagesTr", "leeds")
    assert [stem for stem, _ in listing.files] == ["a_0000", "b_0000"]
    assert not listing.problems
    assert not listing.warnings


def test_missing_folder_is_an_empty_one(root: Path) -> None:
    assert list_files(root, "labelsTr", "leeds").files == []
    assert _rules(root, "labelsTr") == []


def test_foreign_file_is_a_warning_and_foreign_scan_a_problem(root: Path) -> None:
    (root / "imagesTr" / "notes.txt").touch()
    (root / "imagesTr" / "a_0000.nrrd").touch()
    (root / "imagesTr" / "B_0000.NII.GZ").touch()
    listing = list_files(root, "imagesTr", "leeds")
    assert [warning.found for warning in listing.warnings] == ["notes.txt"]
    assert [problem.rule for problem in listing.problems] == ["unsupported-format"] * 2


@pytest.mark.parametrize("name", ["a b_0000.nii", "-rf_0000.nii", "a..b_0000.nii", "\u202ea_0000.nii"])
def test_names_that_a_shell_or_a_reader_misunderstands_are_refused(root: Path, name: str) -> None:
    (root / "imagesTr" / name).touch()
    assert _rules(root) == ["case-name"]


def test_one_case_in_two_files_is_refused(root: Path) -> None:
    for name in ("a_0000.nii", "a_0000.nii.gz"):
        (root / "imagesTr" / name).touch()
    assert _rules(root) == ["repeated-case-name"]


def test_link_out_of_the_folder_is_refused_and_a_link_inside_is_not(root: Path) -> None:
    (root.parent / "secret.nii").touch()
    (root / "real.nii").touch()
    (root / "imagesTr" / "a_0000.nii").symlink_to(root.parent / "secret.nii")
    (root / "imagesTr" / "b_0000.nii").symlink_to("../real.nii")
    listing = list_files(root, "imagesTr", "leeds")
    assert [problem.rule for problem in listing.problems] == ["link-leaves-folder"]
    assert [stem for stem, _ in listing.files] == ["b_0000"]


def test_linked_folder_outside_is_refused(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    (root / "labelsTr").symlink_to(root.parent / "elsewhere")
    assert _rules(root, "labelsTr") == ["folder-outside"]


def test_link_to_itself_is_refused(root: Path) -> None:
    (root / "imagesTr" / "a_0000.nii").symlink_to("a_0000.nii")
    assert _rules(root) == ["link-leads-nowhere"]


def test_file_in_place_of_a_folder_is_refused(root: Path) -> None:
    (root / "labelsTr").touch()
    problems = list_files(root, "labelsTr", "leeds").problems
    assert [problem.rule for problem in problems] == ["unreadable-folder"]
    assert problems[0].found == "Not a directory"
