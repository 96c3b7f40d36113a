"""Folders of label maps are scored case by case; every problem is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.errors import InputError
from diffuse_uda.training.scoring import score_folders


def label_map() -> npt.NDArray[np.uint8]:
    """Class 1: a bar of 4 x 2 x 2 voxels; class 2: one of 2 x 2 x 2."""
    voxels = np.zeros((8, 8, 8), dtype=np.uint8)
    voxels[1:5, 1:3, 1:3] = 1
    voxels[5:7, 5:7, 5:7] = 2
    return voxels


def write(path: Path, voxels: npt.NDArray[Any], spacing_mm: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine_mm = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    save_volume(path, Volume(voxels=voxels, affine_mm=affine_mm), dtype=voxels.dtype)
    return path


def write_names(path: Path) -> Path:
    content = {"channel_names": {"0": "T1w"}, "labels": {"background": 0, "bar": 1, "cube": 2}, "numTraining": 1}
    path.write_text(json.dumps(content))
    return path


def test_label_values_with_gaps_are_scored_as_classes_whoever_wrote_the_prediction(tmp_path: Path) -> None:
    drawn = np.zeros((6, 6, 6), dtype=np.int16)
    drawn[1:3], drawn[3:5] = 205, 420
    folders = {
        "references": drawn,
        "by_us": np.array([0, 1, 2], np.int16)[np.digitize(drawn, (205, 420))],
        "raw": drawn,
    }
    for folder, voxels in folders.items():
        (tmp_path / folder).mkdir()
        save_volume(tmp_path / folder / "a.nii.gz", Volume(voxels=voxels, affine_mm=np.eye(4)), dtype="int16")
    labels = tmp_path / "dataset.json"
    labels.write_text('{"channel_names": {"0": "CT"}, "labels": {"background": 0, "heart": 205, "aorta": 420}}')
    for folder in ("by_us", "raw"):
        scores = score_folders(tmp_path / folder, tmp_path / "references", labels)["a"]
        assert {name: score.dice for name, score in scores.items()} == {"heart": 1.0, "aorta": 1.0}


def test_a_perfect_prediction_has_dice_1_and_distance_0(tmp_path: Path) -> None:
    for folder in ("ours", "theirs"):
        write(tmp_path / folder / "case.nii.gz", label_map())
    scores = score_folders(tmp_path / "ours", tmp_path / "theirs")
    assert list(scores) == ["case"]
    assert list(scores["case"]) == ["class-1", "class-2"]
    for score in scores["case"].values():
        assert (score.dice, score.hd95_mm, score.assd_mm, score.nsd) == (1.0, 0.0, 0.0, 1.0)


def test_half_a_bar_has_dice_two_thirds_and_its_distance_in_mm(tmp_path: Path) -> None:
    half = label_map()
    half[3:5, 1:3, 1:3] = 0
    write(tmp_path / "ours" / "case.nii.gz", half)
    write(tmp_path / "theirs" / "case.nii.gz", label_map())
    score = score_folders(tmp_path / "ours", tmp_path / "theirs")["case"]["class-1"]
    assert score.dice == pytest.approx(2 * 8 / (8 + 16))
    assert score.hd95_mm == pytest.approx(4.0)  # the far end: two voxels of 2 mm
    assert score.nsd is not None
    assert score_folders(tmp_path / "ours", tmp_path / "theirs", tolerance_mm=4.0)["case"]["class-1"].nsd == 1.0
    assert score.nsd < 1.0


def test_names_come_from_the_dataset_and_a_class_that_is_missing_is_scored_too(tmp_path: Path) -> None:
    prediction = label_map()
    prediction[prediction == 2] = 0
    write(tmp_path / "ours" / "case.nii.gz", prediction)
    write(tmp_path / "theirs" / "case.nii.gz", label_map())
    scores = score_folders(tmp_path / "ours", tmp_path / "theirs", write_names(tmp_path / "dataset.json"))["case"]
    assert list(scores) == ["bar", "cube"]
    assert (scores["bar"].dice, scores["cube"].dice) == (1.0, 0.0)


def test_label_maps_stored_as_floating_numbers_are_rounded(tmp_path: Path) -> None:
    write(tmp_path / "ours" / "case.nii", label_map().astype(np.float32) + 0.001)
    write(tmp_path / "theirs" / "case.nii", label_map())
    assert score_folders(tmp_path / "ours", tmp_path / "theirs")["case"]["class-1"].dice == 1.0


def test_references_without_a_prediction_are_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "theirs" / f"{name}.nii.gz", label_map())
    write(tmp_path / "ours" / "b.nii.gz", label_map())
    assert list(score_folders(tmp_path / "ours", tmp_path / "theirs")) == ["b"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_predictions_is_refused(tmp_path: Path, *, exists: bool) -> None:
    if exists:
        (tmp_path / "ours").mkdir()
    with pytest.raises(InputError, match="no NIfTI file") as error:
        score_folders(tmp_path / "ours", tmp_path)
    assert error.value.findings[0].file == str(tmp_path / "ours")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write(ours / "good.nii.gz", label_map())
    write(theirs / "good.nii.gz", label_map())
    write(ours / "alone.nii.gz", label_map())
    write(ours / "moved.nii.gz", label_map(), spacing_mm=3.0)
    write(theirs / "moved.nii.gz", label_map())
    write(ours / "cut.nii.gz", label_map()[:7])
    write(theirs / "cut.nii.gz", label_map())
    (ours / "damaged.nii.gz").write_bytes(b"")
    write(theirs / "damaged.nii.gz", label_map())
    with pytest.raises(InputError, match="4 problems in the input") as error:
        score_folders(ours, theirs)
    found = {finding.case: f"{finding.rule}: {finding.found}" for finding in error.value.findings}
    assert found["alone.nii.gz"] == "evaluate: no reference of this name"
    assert "mm apart" in found["moved.nii.gz"]
    assert "image is (7, 8, 8) voxels, label map is (8, 8, 8)" in found["cut.nii.gz"]
    assert found["damaged.nii.gz"].startswith("empty-file: ")


def test_a_dataset_json_that_is_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ours" / "case.nii.gz", label_map())
    with pytest.raises(InputError, match="invalid-dataset-json"):
        score_folders(tmp_path / "ours", tmp_path / "ours", tmp_path / "nowhere.json")
