"""Corrected copies: what can be corrected is, in a folder of its own, with before and after; originals stay."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse_uda.data.intake import examine_centre
from diffuse_uda.data.intake.corrections import Choices, rectangular_grid
from diffuse_uda.data.intake.fixes import LOG, write_corrected
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.errors import InputError
from diffuse_uda.types import SiteRole

IMAGE, LABELS = "imagesTr/case1_0000.nii.gz", "labelsTr/case1.nii.gz"


def _digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _fix(spoiler: Any, out: Path, choices: Choices | None = None) -> list[tuple[str, str, str]]:
    before = _digest(spoiler.root)
    changes = write_corrected(spoiler.examine(), out, choices or Choices())
    assert _digest(spoiler.root) == before
    logged = json.loads((out / LOG).read_text())["corrected"]
    told = [(change.file.relative_to(out).as_posix(), change.before, change.after) for change in changes]
    assert [tuple(entry.values()) for entry in logged] == told
    return told


def _rules(folder: Path) -> list[str]:
    report = examine_centre(folder, SiteRole.SOURCE, site_id="leeds", num_workers=1)
    return [finding.rule for finding in report.findings]


def test_a_sound_centre_is_linked_as_it_is(spoiler: Any, tmp_path: Path) -> None:
    assert _fix(spoiler, tmp_path / "out") == []
    assert _rules(tmp_path / "out") == []
    assert (tmp_path / "out" / IMAGE).samefile(spoiler.image_path)


def test_f07_gzip_data_gets_its_ending(spoiler: Any, tmp_path: Path) -> None:
    spoiler.image_path.rename(spoiler.image_path.with_suffix(""))
    assert _fix(spoiler, tmp_path / "out") == [(IMAGE, "case1_0000.nii", "case1_0000.nii.gz")]
    assert _rules(tmp_path / "out") == []


def test_g01_a_spacing_is_assumed_only_when_it_is_given(spoiler: Any, tmp_path: Path) -> None:
    spoiler.both_headers(sform_code=0, qform_code=0)
    assert _fix(spoiler, tmp_path / "as_it_was") == []
    assert "no-affine" in _rules(tmp_path / "as_it_was")
    told = _fix(spoiler, tmp_path / "out", Choices(assumed_spacing_mm=(1.0, 2.0, 3.0)))
    assert told == [
        (IMAGE, "no affine", "spacing [1.0, 2.0, 3.0] mm, RAS"),
        (LABELS, "no affine", "spacing [1.0, 2.0, 3.0] mm, RAS"),
    ]
    assert _rules(tmp_path / "out") == []
    assert load_volume(tmp_path / "out" / IMAGE).spacing_mm == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(load_volume(tmp_path / "out" / IMAGE).voxels, spoiler.image)


def test_g03_scan_and_label_map_come_onto_one_rectangular_grid(spoiler: Any, tmp_path: Path) -> None:
    spoiler.both_headers(qform_code=0, srow_y={2: 0.5})
    assert [file for file, _, _ in _fix(spoiler, tmp_path / "out")] == [IMAGE, LABELS]
    assert _rules(tmp_path / "out") == []
    label_map = load_volume(tmp_path / "out" / LABELS).voxels
    assert sorted(np.unique(label_map)) == [0, 1, 2]


def test_a_rectangular_grid_keeps_spacing_and_covers_all_voxels() -> None:
    # Shear of one voxel in three slices: the box grows along j by the shear, and axes stay within a degree or so.
    sheared_mm = np.eye(4)
    sheared_mm[1, 2] = 0.02
    affine_mm, shape = rectangular_grid(sheared_mm, (5, 5, 5))
    axes = affine_mm[:3, :3]
    np.testing.assert_allclose(np.linalg.norm(axes, axis=0), np.linalg.norm(sheared_mm[:3, :3], axis=0), atol=1e-9)
    normal = axes / np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(normal.T @ normal, np.eye(3), atol=1e-9)
    assert shape == (5, 6, 6)


def test_g07_a_negative_pixdim_is_written_anew(spoiler: Any, tmp_path: Path) -> None:
    spoiler.header(pixdim={3: -4})
    assert _fix(spoiler, tmp_path / "out") == [(IMAGE, "pixdim (4.0, 4.0, -4.0)", "pixdim (4.0, 4.0, 4.0)")]
    assert _rules(tmp_path / "out") == []


def test_g14_the_volume_that_was_asked_for_is_kept(spoiler: Any, tmp_path: Path) -> None:
    spoiler.header(dim={0: 4, 3: 4, 4: 2})
    spoiler.save(LABELS, spoiler.labels[:, :, 4:])
    told = _fix(spoiler, tmp_path / "out", Choices(volume_index=1))
    assert told == [(IMAGE, "shape (8, 8, 4, 2)", "volume 1 of 2")]
    # In the file, the last axis changes slowest: the second volume is the upper half of the scan.
    np.testing.assert_array_equal(load_volume(tmp_path / "out" / IMAGE).voxels, spoiler.image[:, :, 4:])
    assert _fix(spoiler, tmp_path / "not_there", Choices(volume_index=2)) == []


def test_c03_the_number_of_scans_is_counted_anew(spoiler: Any, tmp_path: Path) -> None:
    spoiler.describe(numTraining=30)
    assert _fix(spoiler, tmp_path / "out") == [("dataset.json", "numTraining 30", "numTraining 3")]
    assert _rules(tmp_path / "out") == []


def test_what_cannot_be_corrected_is_there_as_it_was(spoiler: Any, tmp_path: Path) -> None:
    spoiler.write(b"")
    assert _fix(spoiler, tmp_path / "out") == []
    assert _rules(tmp_path / "out") == ["empty-file"]


@pytest.mark.parametrize("place", ["inside", "full"])
def test_c13_nothing_is_written_into_data_or_over_files(spoiler: Any, tmp_path: Path, place: str) -> None:
    out = spoiler.root / "fixed" if place == "inside" else tmp_path / "full"
    if place == "full":
        out.mkdir()
        (out / "thesis.txt").touch()
    with pytest.raises(InputError, match="output-in-data"):
        write_corrected(spoiler.examine(), out, Choices())
    assert out.is_dir() == (place == "full")
