from pathlib import Path

import pytest

from diffuse_uda.data.formats.folders import list_folders
from diffuse_uda.errors import ConfigError, InputError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_pattern_finds_cases_and_people(tmp_path: Path) -> None:
    root = _touch(
        tmp_path, "doe/2020/t1_a.nii.gz", "doe/2021/t1_b.nii.gz", "roe/2020/t1_c.nii.gz", "roe/2020/t2.nii.gz"
    )
    cases = list_folders(root, "{patient}/{case}/t1_*.nii.gz").cases

    assert [(case.case_id, case.patient) for case in cases] == [
        ("doe/2020", "doe"),
        ("doe/2021", "doe"),
        ("roe/2020", "roe"),
    ]
    assert all(case.label_map is None for case in cases)


def test_a_name_that_comes_twice_in_a_pattern_is_the_same_name(tmp_path: Path) -> None:
    root = _touch(tmp_path, "a/a_t1.nii", "b/x_t1.nii", "notes/readme.txt")

    assert [case.case_id for case in list_folders(root, "{case}/{case}_t1.nii").cases] == ["a"]


def test_dots_in_a_pattern_are_dots(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-cases"):
        list_folders(_touch(tmp_path, "a/t1xnii"), "{case}/t1.nii")


def test_two_files_for_one_case_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repeated-case-name"):
        list_folders(_touch(tmp_path, "a/t1_1.nii", "a/t1_2.nii"), "{case}/t1_*.nii")


def test_names_that_differ_by_upper_case_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repeated-case-name"):
        list_folders(_touch(tmp_path, "a/t1.nii", "A/t1.nii"), "{case}/t1.nii")


def test_a_label_map_without_a_scan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label-map-without-image"):
        list_folders(_touch(tmp_path, "a/t1.nii", "b/seg.nii"), "{case}/t1.nii", "{case}/seg.nii")


@pytest.mark.parametrize("pattern", ["t1.nii", "../{case}.nii", "/data/{case}.nii", "{case}/{date}.nii"])
def test_a_pattern_that_leaves_the_folder_or_names_no_case_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        list_folders(_touch(tmp_path, "a/t1.nii"), pattern)


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    root = _touch(tmp_path / "in", "a/t1.nii")
    (root / "b").mkdir()
    (root / "b" / "t1.nii").symlink_to(_touch(tmp_path, "secret.nii") / "secret.nii")
    with pytest.raises(InputError, match="link-leaves-folder"):
        list_folders(root, "{case}/t1.nii")


def test_hidden_files_are_nobodys_scans(tmp_path: Path) -> None:
    root = _touch(tmp_path, "a/t1.nii", ".trash/t1.nii", "a/.t1.nii")

    assert [case.case_id for case in list_folders(root, "{case}/t1.nii").cases] == ["a"]
