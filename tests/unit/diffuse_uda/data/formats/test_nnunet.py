"""Names become cases; whatever does not pair up is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diffuse_uda.data.formats.nnunet import (
    evaluation_cases,
    list_centre,
    read_centre,
    read_oracle_label_maps,
    without_training_labels,
)
from diffuse_uda.errors import InputError

MakeCentre = Callable[..., Path]


def _rules(root: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_centre(root)
    return [finding.rule for finding in caught.value.findings]


def test_sound_centre_is_read(make_centre: MakeCentre) -> None:
    root = make_centre("leeds")
    centre = read_centre(root)
    assert centre.site_id == "leeds"
    assert [case.case_id for case in centre.train] == ["case0", "case1", "case2"]
    assert centre.train[0].image == root / "imagesTr" / "case0_0000.nii.gz"
    assert centre.train[0].label_map == root / "labelsTr" / "case0.nii.gz"
    assert centre.label_names == {0: "background", 1: "ventricle", 2: "myocardium"}
    assert centre.channel_name == "T1w"
    assert read_centre(root, "site-3").site_id == "site-3"


def test_evaluation_cases_follow_the_split(make_centre: MakeCentre) -> None:
    centre = read_centre(make_centre())
    assert [case.case_id for case in evaluation_cases(centre, "development")] == ["case3"]
    assert [case.case_id for case in evaluation_cases(centre, "test")] == ["case4"]
    assert [case.case_id for case in evaluation_cases(centre, "all")] == ["case3", "case4"]


def test_without_a_split_every_test_scan_is_a_test_case(make_centre: MakeCentre) -> None:
    centre = read_centre(make_centre(evaluation={}))
    assert evaluation_cases(centre, "development") == ()
    assert [case.case_id for case in evaluation_cases(centre, "test")] == ["case3", "case4"]


def test_scans_without_label_map_cannot_be_scored(make_centre: MakeCentre) -> None:
    root = make_centre()
    (root / "labelsTs" / "case4.nii.gz").unlink()
    assert evaluation_cases(read_centre(root), "test") == ()


def test_training_labels_of_a_target_are_out_of_reach(make_centre: MakeCentre) -> None:
    centre = without_training_labels(read_centre(make_centre()))
    assert [case.label_map for case in centre.train] == [None, None, None]
    assert all(case.label_map for case in centre.test)


def test_oracle_label_maps_are_no_part_of_the_centre(make_centre: MakeCentre) -> None:
    root = make_centre(labelled=False)
    (root / "oracle" / "labelsTr").mkdir(parents=True)
    oracle = root / "oracle" / "labelsTr" / "case0.nii.gz"
    oracle.touch()
    assert "/oracle/" not in repr(read_centre(root))
    assert read_oracle_label_maps(root) == {"case0": oracle}
    (oracle.parent / "case1.nii.gz").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="link-leaves-folder"):
        read_oracle_label_maps(root)


def test_missing_folder_and_file_in_its_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert _rules(tmp_path / "nowhere") == ["missing-folder"]
    assert _rules(tmp_path / "file") == ["missing-folder"]
    assert "a file, not a folder" in str(list_centre(tmp_path / "file").problems[0])


def test_empty_folder_lacks_description_and_cases(tmp_path: Path) -> None:
    assert _rules(tmp_path) == ["invalid-dataset-json", "no-cases"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("imagesTr/case9.nii.gz", "channel-suffix"),
        ("imagesTr/case0_0001.nii.gz", "several-channels"),
        ("imagesTr/CASE0_0000.nii.gz", "names-differ-by-case"),
        ("imagesTs/case0_0000.nii.gz", "repeated-case-name"),
        ("labelsTr/case9.nii.gz", "label-map-without-image"),
        ("labelsTs/case0.nii.gz", "label-map-without-image"),
    ],
)
def test_file_that_does_not_pair_up_is_refused(make_centre: MakeCentre, name: str, rule: str) -> None:
    root = make_centre()
    (root / name).touch()
    assert [problem.rule for problem in list_centre(root).problems] == [rule]


def test_a_file_that_only_takes_its_case_out_leaves_the_centre_readable(make_centre: MakeCentre) -> None:
    root = make_centre()
    (root / "labelsTr" / "case9.nii.gz").touch()
    (root / "imagesTr" / "case9.nii.gz").touch()
    assert [case.case_id for case in read_centre(root).train] == ["case0", "case1", "case2"]


def test_links_out_of_the_folder_are_followed_where_that_is_allowed(make_centre: MakeCentre, tmp_path: Path) -> None:
    root = make_centre()
    (root / "imagesTr" / "case0_0000.nii.gz").rename(tmp_path / "moved.nii.gz")
    (root / "imagesTr" / "case0_0000.nii.gz").symlink_to(tmp_path / "moved.nii.gz")
    assert [case.case_id for case in read_centre(root).train] == ["case1", "case2"]
    assert [case.case_id for case in read_centre(root, follow_links=True).train] == ["case0", "case1", "case2"]


def test_label_values_with_gaps_become_classes_in_their_order(make_centre: MakeCentre) -> None:
    centre = read_centre(make_centre(labels={"background": 0, "ventricle": 500, "myocardium": 205}))
    assert centre.label_names == {0: "background", 1: "myocardium", 2: "ventricle"}
    assert {case.label_values for case in (*centre.train, *centre.test)} == {(0, 205, 500)}
    assert {case.label_values for case in read_centre(make_centre("plain")).train} == {()}


def test_split_with_an_unknown_case_is_refused(make_centre: MakeCentre) -> None:
    root = make_centre(evaluation={"test": ["case4", "case5"]})
    with pytest.raises(InputError, match=r"'case5' under evaluation\.test"):
        read_centre(root)


def test_problems_of_names_and_description_come_together(make_centre: MakeCentre) -> None:
    root = make_centre(labels={})
    (root / "imagesTr" / "case9.nii.gz").touch()
    (root / "imagesTr" / "case0_0000.mha").touch()
    problems = list_centre(root).problems
    assert [problem.rule for problem in problems] == ["invalid-dataset-json", "unsupported-format", "channel-suffix"]


def test_scans_declared_without_labels_have_none_even_where_a_label_map_lies(make_centre: MakeCentre) -> None:
    centre = read_centre(make_centre(unlabelled=["case2", "case1"]))
    assert [case.case_id for case in centre.train if case.label_map is not None] == ["case0"]
    assert centre.unlabelled == {"case1", "case2"}
    assert all(case.label_map is not None for case in centre.test)


def test_a_declared_scan_has_to_be_there(make_centre: MakeCentre) -> None:
    assert _rules(make_centre(unlabelled=["case1", "case9", "case3"])) == ["unknown-unlabelled-case"] * 2


@pytest.mark.parametrize("wrong", ["case1", [1], {"case1": True}])
def test_what_is_no_list_of_ids_is_refused(make_centre: MakeCentre, wrong: object) -> None:
    assert _rules(make_centre(unlabelled=wrong)) == ["invalid-dataset-json"]
