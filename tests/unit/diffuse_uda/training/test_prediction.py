"""A scan in, a label map on the scan's own grid out; nothing else is touched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.config import ComputeConfig, GridConfig, PredictionConfig, StudyConfig
from diffuse_uda.data.volumes import Volume, load_volume, save_volume
from diffuse_uda.errors import CheckpointError, ConfigError, InputError
from diffuse_uda.models import build_segmenter, initial_weights
from diffuse_uda.training import inference
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.training.prediction import (
    LoadedSegmenter,
    load_segmenter,
    predict_scan,
    segment_volume,
    segmenter_metadata,
)
from diffuse_uda.types import ModelName

LABELS = ("background", "ventricle", "myocardium")
# Axes: i to the left, j to the back, k up; 2 x 4 x 3 mm: neither RAS nor the working grid of 4 mm.
LPS_MM = np.array([[-2.0, 0, 0, 30], [0, -4, 0, 25], [0, 0, 3, -20], [0, 0, 0, 1]])


class Bright(nn.Module):
    """Class 1 where a voxel is above 0.7, class 0 elsewhere; class 2 never. The scan's mean lies at 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, volumes: Tensor) -> Tensor:
        zero = torch.zeros_like(volumes)
        return torch.cat([zero, self.slope * (volumes - 0.7), zero - 20.0], dim=1)


@pytest.fixture
def bright(study: StudyConfig) -> LoadedSegmenter:
    return LoadedSegmenter(model=Bright(), config=study, label_names=LABELS)


def voxels() -> npt.NDArray[np.int16]:
    """A body of 200 to 240 with a bright box that lies off every centre."""
    scan = np.zeros((24, 14, 18), dtype=np.int16)
    scan[2:22, 2:12, 2:16] = np.random.default_rng(0).integers(200, 240, (20, 10, 14))
    scan[4:12, 3:7, 9:15] = 1000
    return scan


def write_scan(path: Path, affine_mm: npt.NDArray[Any] = LPS_MM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(path, Volume(voxels=voxels(), affine_mm=affine_mm), dtype="int16")
    return path


def test_the_label_map_lies_on_the_scans_own_grid_and_where_the_scan_is_bright(
    bright: LoadedSegmenter, tmp_path: Path
) -> None:
    scan = write_scan(tmp_path / "in" / "patient_0000.nii.gz")
    before = scan.read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    file = predict_scan(bright, scan, out)
    label_map, source = load_volume(file), load_volume(scan)
    assert file == out / "patient.nii.gz"
    assert label_map.shape == source.shape == (24, 14, 18)
    np.testing.assert_array_equal(label_map.affine_mm, source.affine_mm)
    assert label_map.orientation == "LPS"
    assert label_map.voxels.dtype == np.uint8
    found, wanted = label_map.voxels == 1, voxels() == 1000
    # Resampling to 4 mm and back blurs the surface of the box; mirrored or shifted, the boxes would hardly meet.
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.75
    assert scan.read_bytes() == before


def test_on_the_working_grid_every_voxel_is_right(bright: LoadedSegmenter, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "in" / "scan.nii", np.diag([4.0, 4.0, 4.0, 1.0]))
    label_map = load_volume(predict_scan(bright, scan, tmp_path))
    np.testing.assert_array_equal(label_map.voxels == 1, voxels() == 1000)


@pytest.mark.parametrize(
    ("name", "written"), [("a.nii", "a.nii.gz"), ("a.nii.gz", "a.nii.gz"), ("a_0000.nii.gz", "a.nii.gz")]
)
def test_the_label_map_has_the_scans_name_without_the_channel(
    bright: LoadedSegmenter, tmp_path: Path, name: str, written: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert predict_scan(bright, write_scan(tmp_path / "in" / name), out).name == written


def test_a_label_map_never_replaces_its_scan(bright: LoadedSegmenter, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    before = scan.read_bytes()
    with pytest.raises(InputError, match="output-is-input") as error:
        predict_scan(bright, scan, tmp_path)
    assert error.value.findings[0].file == str(scan)
    assert "choose another --out" in str(error.value)
    assert scan.read_bytes() == before


def test_neither_does_it_through_a_link(bright: LoadedSegmenter, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "in" / "scan.nii.gz")
    out = tmp_path / "out"
    out.mkdir()
    link = out / "scan.nii.gz"
    link.symlink_to(scan)
    with pytest.raises(InputError, match="output-is-input"):
        predict_scan(bright, link, out)
    assert link.is_symlink()


def test_nor_by_another_way_to_its_folder(bright: LoadedSegmenter, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "in" / "scan.nii.gz")
    with pytest.raises(InputError, match="output-is-input"):
        predict_scan(bright, scan, tmp_path / "in" / ".." / "in")


def test_beside_its_scan_it_may_lie_under_another_name(bright: LoadedSegmenter, tmp_path: Path) -> None:
    assert predict_scan(bright, write_scan(tmp_path / "a_0000.nii.gz"), tmp_path).name == "a.nii.gz"


def test_a_scan_that_cannot_be_used_is_named_with_its_rule(bright: LoadedSegmenter, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(b"no gzip")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError) as error:
        predict_scan(bright, scan, out)
    (finding,) = error.value.findings
    assert (finding.rule, finding.case, finding.file) == ("wrong-ending", "scan", str(scan))
    assert list(out.iterdir()) == []


def test_a_saved_segmenter_comes_back_with_its_study_and_classes(study: StudyConfig, tmp_path: Path) -> None:
    weights = initial_weights(study, ModelName.SEGMENTER, 3)
    save_checkpoint(tmp_path, weights, segmenter_metadata(study, LABELS))
    loaded = load_segmenter(tmp_path)
    assert (loaded.config, loaded.label_names) == (study, LABELS)
    assert not loaded.model.training
    wanted = build_segmenter(study.segmenter, 3)
    wanted.load_state_dict(weights)
    volume = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(loaded.model(volume), wanted.eval()(volume))


def test_where_it_runs_may_differ_from_the_study(study: StudyConfig, tmp_path: Path) -> None:
    on_gpu = study.model_copy(update={"compute": ComputeConfig(device="cuda")})
    weights = initial_weights(study, ModelName.SEGMENTER, 3)
    save_checkpoint(tmp_path, weights, segmenter_metadata(on_gpu, LABELS))
    here = ComputeConfig(device="cpu")
    assert load_segmenter(tmp_path, here).config.compute == here


def test_weights_without_a_study_are_refused(study: StudyConfig, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, initial_weights(study, ModelName.SEGMENTER, 3), {"config": study.to_flat()})
    with pytest.raises(CheckpointError, match="its manifest lacks 'label_names'; wanted the segmenter folder"):
        load_segmenter(tmp_path)


def test_weights_of_another_model_or_number_of_classes_are_refused(study: StudyConfig, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, initial_weights(study, ModelName.SEGMENTER, 4), segmenter_metadata(study, LABELS))
    with pytest.raises(CheckpointError, match="tensors do not fit"):
        load_segmenter(tmp_path)


def test_a_study_that_this_version_does_not_know_is_refused(study: StudyConfig, tmp_path: Path) -> None:
    metadata = {"config": study.to_flat() | {"future": 1}, "label_names": list(LABELS)}
    save_checkpoint(tmp_path, initial_weights(study, ModelName.SEGMENTER, 3), metadata)
    with pytest.raises(ConfigError, match="unknown configuration keys: 'future'"):
        load_segmenter(tmp_path)


def test_a_scan_larger_than_a_patch_is_segmented_in_windows(bright: LoadedSegmenter, tmp_path: Path) -> None:
    config = bright.config.model_copy(update={"grid": GridConfig(spacing_mm=(2.0, 2.0, 2.0), patch_size=(16, 16, 16))})
    segmenter = LoadedSegmenter(model=bright.model, config=config, label_names=LABELS)
    label_map = load_volume(predict_scan(segmenter, write_scan(tmp_path / "in" / "scan.nii.gz"), tmp_path))
    found, wanted = label_map.voxels == 1, voxels() == 1000
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.85


def test_the_scan_s_intensities_have_their_word_unless_the_network_alone_is_asked(
    bright: LoadedSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mixture says class 2 everywhere, which the network never says."""
    monkeypatch.setattr(inference, "sharpen_probabilities", lambda images, _answers, **_: [_sure_of(2, images[0])])
    config = bright.config.model_copy(update={"prediction": PredictionConfig(mixture_share=0.9)})
    seconded = dataclasses.replace(bright, config=config)
    scan = Volume(voxels=voxels(), affine_mm=LPS_MM)
    assert 2 in np.unique(segment_volume(seconded, scan).voxels)
    assert 2 not in np.unique(segment_volume(seconded.network_alone(), scan).voxels)


def _sure_of(klass: int, image: Tensor) -> Tensor:
    return torch.eye(3)[klass].view(3, 1, 1, 1).expand(3, *image.shape[1:])
