"""A case that is odd beside the others of its centre is told, and usual cohorts are left alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse_uda.data.intake import examine_centre
from diffuse_uda.data.intake.cohort_rules import axis_orders
from diffuse_uda.data.intake.scan_rules import Modality, declared_modality, sided_pairs
from diffuse_uda.types import SiteRole
from simulations.phantom.centres import DEFAULT_CENTRES
from simulations.phantom.cohort import write_cohort

SHARED = Path(__file__).resolve().parents[6] / "shared" / "data" / "brain4"
SHAPE = (16, 16, 16)


def _body(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A body without any symmetry, nearer to one corner: five boxes of different brightness, and a foot of the second.

    Slices 2 to 6 from below are 96 voxels large, slice 1 is the foot's 4, and slices 11 to 13 are the tip's 4.
    """
    label_map = np.zeros(SHAPE, dtype=np.uint8)
    label_map[2:5, 3:15, 2:11] = 1
    label_map[5:9, 3:9, 2:11] = 2
    label_map[5:11, 9:15, 2:7] = 3
    label_map[5:9, 9:15, 7:11] = 4
    label_map[6:8, 5:7, 11:14] = 5
    label_map[6:8, 5:7, 1:2] = 2
    brightness = np.array([0, 100, 220, 340, 460, 580])
    noise = np.random.default_rng(seed).integers(1, 30, SHAPE)
    return (brightness[label_map] + noise).astype(np.int16), label_map


@pytest.fixture
def centre(make_centre: Callable[..., Path], write_volume: Callable[..., Path]) -> Path:
    """Ten training cases that look alike, structures named for a left and a right one."""
    names = {"background": 0, "left_lung": 1, "heart": 2, "right_lung": 3, "liver": 4, "tip": 5}
    root = make_centre(labels=names, numTraining=10, evaluation={})
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        shutil.rmtree(root / folder)
    for index in range(10):
        scan, label_map = _body(index)
        write_volume(root / f"imagesTr/case{index}_0000.nii.gz", scan)
        write_volume(root / f"labelsTr/case{index}.nii.gz", label_map)
    return root


def _told(root: Path, role: SiteRole = SiteRole.SOURCE) -> list[tuple[str, str, str]]:
    report = examine_centre(root, role, site_id="leeds", num_workers=1)
    return [(finding.rule, finding.case, finding.found) for finding in report.findings]


def test_alike_cases_are_left_alone(centre: Path) -> None:
    assert _told(centre) == []


@pytest.mark.parametrize(
    ("turn", "rule", "words"),
    [
        (lambda v: v.transpose(1, 0, 2), "turned-scan", "axes exchanged to (1, 0, 2)"),
        (lambda v: v[:, :, ::-1], "turned-scan", "inferior-superior reversed"),
        (lambda v: v[::-1], "left-right-swapped", "when mirrored, a correlation"),
    ],
    ids=["G22 sideways", "G22 upside down", "G21 mirrored"],
)
def test_a_scan_that_was_turned_is_told_without_labels(
    centre: Path, write_volume: Callable[..., Path], turn: Callable[[Any], Any], rule: str, words: str
) -> None:
    scan, _ = _body(4)
    write_volume(centre / "imagesTr/case4_0000.nii.gz", np.ascontiguousarray(turn(scan)))
    shutil.rmtree(centre / "labelsTr")
    told = [finding for finding in _told(centre, SiteRole.TARGET) if finding[0] != "body-cut-off"]
    assert [(found, case) for found, case, _ in told] == [(rule, "case4")]
    assert words in told[0][2]


def test_g21_the_left_lung_on_the_right_is_told_from_one_label_map(
    centre: Path, write_volume: Callable[..., Path]
) -> None:
    _, label_map = _body(2)
    swapped = np.array([0, 3, 2, 1, 4, 5], np.uint8)[label_map]
    write_volume(centre / "labelsTr/case2.nii.gz", swapped)
    assert ("left-right-swapped", "case2", "left_lung lies to the right of right_lung") in _told(centre)


def test_g23_a_body_that_is_cut_where_the_others_end_is_told(centre: Path, write_volume: Callable[..., Path]) -> None:
    scan, label_map = _body(3)
    write_volume(centre / "imagesTr/case3_0000.nii.gz", np.ascontiguousarray(scan[:, :, 6:]))
    write_volume(centre / "labelsTr/case3.nii.gz", np.ascontiguousarray(label_map[:, :, 6:]))
    told = [finding for finding in _told(centre) if finding[0] == "body-cut-off"]
    assert [case for _, case, _ in told] == ["case3"]
    assert "% of the inferior face (0 % in the median scan)" in told[0][2]


def test_i16_a_case_of_another_contrast_is_told_by_its_label_map(
    centre: Path, write_volume: Callable[..., Path]
) -> None:
    scan, label_map = _body(1)
    inverted = np.where(label_map > 0, 700 - scan, scan).astype(np.int16)
    write_volume(centre / "imagesTr/case1_0000.nii.gz", inverted)
    told = [finding for finding in _told(centre) if finding[0] == "contrast-differs"]
    assert [(case, found) for _, case, found in told] == [
        ("case1", "rank correlation -1.00 of 5 structures' brightness with the median case")
    ]


def test_l09_slices_that_nobody_annotated_are_told(centre: Path, write_volume: Callable[..., Path]) -> None:
    # Without its upper half, the outermost slice is as large as any; with it, it is the tip's 4 of 96 voxels.
    _, label_map = _body(7)
    label_map[:, :, 7:] = 0
    write_volume(centre / "labelsTr/case7.nii.gz", label_map)
    told = [finding for finding in _told(centre) if finding[0] == "partial-annotation"]
    assert [case for _, case, _ in told] == ["case7"]
    assert told[0][2] == (
        "inferior-superior, the outermost labelled slice has 100 % of the largest area, 4 % in the median case"
    )


def test_l09_a_structure_that_only_one_case_lacks_is_told(centre: Path, write_volume: Callable[..., Path]) -> None:
    _, label_map = _body(5)
    write_volume(centre / "labelsTr/case5.nii.gz", np.where(label_map == 5, 0, label_map).astype(np.uint8))
    assert ("structure-missing", "case5", "no voxel of tip, which all others have") in _told(centre)


def test_there_are_forty_eight_axis_orders_and_the_first_changes_nothing() -> None:
    orders = axis_orders()
    assert len({order.tobytes() for _, _, order in orders}) == 48
    assert orders[0][2].tolist() == list(range(216))


@pytest.mark.parametrize(
    ("channel", "modality"),
    [
        ("CT", Modality.CT),
        ("cta", Modality.CT),
        ("T1w", Modality.MRI),
        ("FLAIR", Modality.MRI),
        ("MRI T2", Modality.MRI),
        ("image", Modality.UNDECLARED),
        ("contrast", Modality.UNDECLARED),
        ("", Modality.UNDECLARED),
    ],
)
def test_a_modality_is_read_from_the_name_of_the_channel(channel: str, modality: Modality) -> None:
    assert declared_modality(channel) is modality


def test_sides_are_read_from_names_of_structures() -> None:
    names = {0: "background", 1: "left_lung", 2: "right_lung", 3: "Kidney Left", 4: "kidney right", 5: "leftover"}
    assert sided_pairs(names) == [(1, 2), (3, 4)]
    assert sided_pairs({1: "liver", 2: "spleen"}) == [(2, 1)]


def test_nothing_is_told_about_the_procedural_cohort(tmp_path: Path) -> None:
    centres = [replace(centre, num_train=5, num_test=1, num_development=0) for centre in DEFAULT_CENTRES]
    cohort = write_cohort(tmp_path / "cohort", seed=0, centres=centres, shape=(16, 20, 16), spacing_mm=(10, 10, 10))
    for folder in cohort:
        role = SiteRole.SOURCE if folder.name.startswith("source") else SiteRole.TARGET
        assert [finding for finding in _told(folder, role) if finding[0] != "target-has-training-labels"] == []


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}")
@pytest.mark.parametrize("name", ["source_ixi_t1", "target_flair_real", "target_pdw", "target_t1_real", "target_t2w"])
def test_nothing_is_told_about_the_real_cohorts(name: str) -> None:
    role = SiteRole.SOURCE if name.startswith("source") else SiteRole.TARGET
    assert _told(SHARED / name, role) == []
