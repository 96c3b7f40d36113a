"""Whatever stands in a label map becomes classes from 0 without gaps, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.cases import prepare_case
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.data.label_maps import load_label_map, renumbered

GAPS = (0, 205, 420)


def test_values_become_the_numbers_of_their_classes() -> None:
    labels = np.array([[0, 420], [205, 205]], dtype=np.int16)
    classes = renumbered(labels, GAPS)
    assert classes.dtype == np.uint8
    assert classes.tolist() == [[0, 2], [1, 1]]
    assert renumbered(np.array([0, 7, 255]), ()).tolist() == [0, 7, 255]


@pytest.mark.parametrize(
    ("labels", "values", "words"),
    [
        ([0, 206], GAPS, "label 206 in 1 voxels"),
        ([0, 500], GAPS, "label 500"),
        ([0, -1], GAPS, "label -1"),
        ([0, -1], (), "from -1 to 0"),
        ([0, 256], (), "from 0 to 256"),
    ],
)
def test_a_value_that_is_no_class_is_refused(labels: list[int], values: tuple[int, ...], words: str) -> None:
    with pytest.raises(BrokenRuleError, match="label-outside-map") as caught:
        renumbered(np.array(labels), values)
    assert words in caught.value.found


def test_a_prepared_case_has_classes_without_gaps(
    tmp_path: Path,
    write_volume: Callable[..., Path],
    scan_voxels: Callable[..., np.ndarray],
    label_voxels: Callable[..., np.ndarray],
) -> None:
    drawn = np.array(GAPS, dtype=np.float32)[label_voxels()] * np.float32(1.000001)
    files = CaseFiles(
        case_id="a",
        image=write_volume(tmp_path / "a_0000.nii.gz", scan_voxels(0)),
        label_map=write_volume(tmp_path / "a.nii.gz", drawn),
        label_values=GAPS,
    )
    prepared = prepare_case(files, (4.0, 4.0, 4.0), (8, 8, 8))
    assert prepared.label_map is not None
    np.testing.assert_array_equal(prepared.label_map[0].numpy(), label_voxels())
    np.testing.assert_array_equal(load_label_map(files).voxels, label_voxels())


def test_a_case_without_a_label_map_has_none_to_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no label map"):
        load_label_map(CaseFiles(case_id="a", image=tmp_path / "a_0000.nii.gz", label_map=None))
