import json
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.data.formats.msd import list_msd
from diffuse_uda.errors import InputError


def _list(root: Path, **content: Any) -> Path:
    path = root / "dataset.json"
    path.write_text(json.dumps(content))
    return path


def test_the_decathlons_lists_are_parts(tmp_path: Path) -> None:
    path = _list(
        tmp_path,
        modality={"0": "CT"},
        labels={"0": "background", "1": "spleen"},
        training=[{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        test=["./imagesTs/b.nii.gz"],
    )
    listing = list_msd(path)

    assert [(case.case_id, case.part, case.label_map is None) for case in listing.cases] == [
        ("a", "train", False),
        ("b", "test", True),
    ]
    assert (listing.label_names, listing.channel_name) == ({1: "spleen"}, "CT")


def test_monais_folds_and_validation_are_development(tmp_path: Path) -> None:
    entries = [
        {"image": [f"{name}.nii.gz"], "label": f"l/{name}.nii.gz", "fold": fold} for name, fold in (("a", 0), ("b", 1))
    ]
    path = _list(tmp_path, training=entries, validation=[{"image": "c.nii"}], testing=[{"image": "d.nii"}])

    assert [case.part for case in list_msd(path).cases] == ["train", "train", "development", "test"]
    assert [case.part for case in list_msd(path, fold=1).cases] == ["train", "development", "development", "test"]


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ({"image": ["a.nii", "b.nii"]}, "several-channels"),
        ({"image": "../a.nii"}, "path-traversal"),
        ({"image": "/data/a.nii"}, "path-traversal"),
        ({"image": "C:\\data\\a.nii"}, "path-traversal"),
        ({"label": "a.nii"}, "invalid-datalist"),
        (7, "invalid-datalist"),
    ],
)
def test_an_entry_that_cannot_be_one_scan_inside_the_folder_is_refused(entry: Any, rule: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rule):
        list_msd(_list(tmp_path, training=[entry]))


def test_one_scan_in_two_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repeated-case-name"):
        list_msd(_list(tmp_path, training=[{"image": "a.nii"}], test=[{"image": "a.nii"}]))


@pytest.mark.parametrize("labels", [["a"], {"x": "spleen"}, {"spleen": True}, {"1": "a", "b": 1}])
def test_labels_of_another_form_are_refused(labels: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="invalid-datalist"):
        list_msd(_list(tmp_path, labels=labels, training=[{"image": "a.nii"}]))


@pytest.mark.parametrize("text", ["[]", "{", '{"training": 3}'])
def test_another_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError):
        list_msd(tmp_path)
