"""A `dataset.json` is understood, or refused with everything that is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.data.formats.dataset_json import read_description

GOOD: dict[str, Any] = {
    "channel_names": {"0": "T1w"},
    "labels": {"background": 0, "myocardium": 2, "ventricle": 1},
    "numTraining": 3,
    "evaluation": {"development": ["a"], "test": ["b", "c"]},
}


def _read(tmp_path: Path, content: Any) -> Any:
    path = tmp_path / "dataset.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_description(path)


def test_good_description_is_understood_and_labels_are_in_order(tmp_path: Path) -> None:
    description, broken = _read(tmp_path, GOOD)
    assert broken == []
    assert list(description.label_names.items()) == [(0, "background"), (1, "ventricle"), (2, "myocardium")]
    assert description.channel_name == "T1w"
    assert description.num_training == 3
    assert description.evaluation == {"development": ("a",), "test": ("b", "c")}


def test_gaps_between_label_values_are_accepted(tmp_path: Path) -> None:
    description, broken = _read(tmp_path, GOOD | {"labels": {"background": 0, "ventricle": 500, "myocardium": 205}})
    assert broken == []
    assert list(description.label_names.items()) == [(0, "background"), (205, "myocardium"), (500, "ventricle")]


def test_evaluation_and_count_are_optional(tmp_path: Path) -> None:
    description, broken = _read(tmp_path, {"channel_names": {"0": "CT"}, "labels": GOOD["labels"]})
    assert (broken, description.evaluation, description.num_training) == ([], {}, None)


@pytest.mark.parametrize(
    ("content", "rule", "words"),
    [
        ("{not json", "invalid-dataset-json", "JSONDecodeError"),
        ("[" * 100_000, "invalid-dataset-json", "RecursionError"),
        ("[1, 2]", "invalid-dataset-json", "a JSON list"),
        (GOOD | {"labels": []}, "invalid-dataset-json", "labels: []"),
        (GOOD | {"labels": {"0": "background", "1": "heart"}}, "invalid-dataset-json", "nnU-Net v1"),
        (GOOD | {"labels": {"background": 0, "whole": [1, 2]}}, "invalid-dataset-json", "[1, 2]"),
        (GOOD | {"labels": {"background": 0, "heart": True}}, "invalid-dataset-json", "True"),
        (GOOD | {"labels": {"background": 0, "heart": 1, "ignore": 2}}, "ignore-label", "(2)"),
        (GOOD | {"labels": {"background": 1, "heart": 205}}, "label-values", "[1, 205]"),
        (GOOD | {"labels": {"background": 0, "heart": 1, "liver": 1}}, "label-values", "[0, 1, 1]"),
        (GOOD | {"labels": {"background": 0}}, "label-values", "[0]"),
        (GOOD | {"channel_names": None}, "invalid-dataset-json", "channel_names: None"),
        (GOOD | {"channel_names": {"0": "T1", "1": "T2"}}, "several-channels", "'1': 'T2'"),
        (GOOD | {"numTraining": "three"}, "invalid-dataset-json", "'three'"),
        (GOOD | {"numTraining": True}, "invalid-dataset-json", "True"),
        (GOOD | {"evaluation": ["a"]}, "invalid-dataset-json", "['a']"),
        (GOOD | {"evaluation": {"validation": ["a"]}}, "invalid-dataset-json", "validation"),
        (GOOD | {"evaluation": {"test": [1]}}, "invalid-dataset-json", "[1]"),
        (GOOD | {"evaluation": {"development": ["a"], "test": ["a"]}}, "case-in-two-parts", "['a']"),
        (GOOD | {"evaluation": {"test": ["../other/case"]}}, "path-traversal", "../other/case"),
        (GOOD | {"dataset": {"a": {"images": ["a.nii.gz"]}}}, "invalid-dataset-json", "`dataset` map"),
        (GOOD | {"training": [{"image": "/etc/passwd"}]}, "path-traversal", "/etc/passwd"),
        (GOOD | {"training": ["C:\\scans\\a.nii"]}, "path-traversal", "scans"),
        (GOOD | {"training": ["..\\a.nii"]}, "path-traversal", "a.nii"),
    ],
)
def test_bad_description_is_refused_with_its_rule(tmp_path: Path, content: Any, rule: str, words: str) -> None:
    _, broken = _read(tmp_path, content)
    assert rule in [problem.rule for problem in broken]
    assert words in next(problem.found for problem in broken if problem.rule == rule)


def test_missing_description_is_one_problem(tmp_path: Path) -> None:
    _, broken = read_description(tmp_path / "dataset.json")
    assert [problem.found for problem in broken] == ["no such file"]


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    _, broken = _read(tmp_path, {"labels": 1, "channel_names": 2, "numTraining": "3", "evaluation": 4, "test": ["/a"]})
    assert len(broken) == 5
