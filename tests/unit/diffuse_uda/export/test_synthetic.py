"""Synthetic pairs leave as what they are, marked, and never as a copy of a scan."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from diffuse_uda.cli import app
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.cases import PreparedCase, save_prepared
from diffuse_uda.data.intake import check_centre
from diffuse_uda.errors import ConfigError, ReleaseError
from diffuse_uda.export.copy_check import nearest_correlation
from diffuse_uda.export.forms import DatasetForm
from diffuse_uda.export.synthetic_export import export_pairs
from diffuse_uda.export.synthetic_files import REMARK
from diffuse_uda.export.synthetic_pairs import SyntheticPair, load_scans, sift_pairs
from diffuse_uda.export_commands import EXIT_COPIES
from diffuse_uda.models import initial_weights
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.training.prediction import segmenter_metadata
from diffuse_uda.types import ModelName, SiteRole
from tests.planted import PATIENT, holds_a_name
from tests.unit.diffuse_uda.export.conftest import LABELS, SPACING_MM

Image = npt.NDArray[np.float32]


def label_map() -> npt.NDArray[np.uint8]:
    voxels = np.zeros((12, 10, 8), dtype=np.uint8)
    voxels[2:10, 2:8, 1:7] = 1
    voxels[4:7, 3:6, 2:5] = 2
    return voxels


def image(seed: int) -> Image:
    """Two classes of 0.4 and 0.7 in air, and a texture of its own: blobs of 3 voxels."""
    texture = np.kron(np.random.default_rng(seed).normal(0, 0.1, (4, 4, 3)), np.ones((3, 3, 3)))[:12, :10, :8]
    classes = np.asarray([0.0, 0.4, 0.7])[label_map()]
    return np.where(label_map() > 0, np.clip(classes + texture, 0.01, 1), 0).astype(np.float32)


def pair(voxels: Image, classes: npt.NDArray[np.uint8] | None = None) -> SyntheticPair:
    return SyntheticPair(image=voxels, label_map=label_map() if classes is None else classes, look=1)


@pytest.fixture
def model(study: StudyConfig, tmp_path: Path) -> Path:
    weights = initial_weights(study, ModelName.SEGMENTER, len(LABELS))
    save_checkpoint(tmp_path / "segmenter", weights, segmenter_metadata(study, LABELS))
    return tmp_path / "segmenter"


def workspace(folder: Path, rendered: list[Image], scans: list[Image]) -> Path:
    """What a site keeps, as `client.site_state` and `data.cases` write it; case ids bear a name."""
    state = folder / PATIENT / "state"
    state.mkdir(parents=True)
    tensors = {}
    for index, voxels in enumerate(rendered):
        tensors[f"{index:05d}.image"] = torch.from_numpy(voxels)[None].clone()
        tensors[f"{index:05d}.label_map"] = torch.from_numpy(label_map())[None].clone()
        tensors[f"{index:05d}.domain"] = torch.tensor([1])
    save_file(tensors, state / "synthetic.safetensors")
    affine_mm = np.diag([*SPACING_MM, 1.0])
    cases = [
        PreparedCase(
            case_id=f"{PATIENT}-{number}",
            image=torch.from_numpy(voxels)[None],
            label_map=None,
            affine_mm=affine_mm,
            scan_shape=(12, 10, 8),
            scan_affine_mm=affine_mm,
        )
        for number, voxels in enumerate(scans)
    ]
    save_prepared(state / "cases-train-0123.safetensors", cases)
    return state.parent


def moved_and_noisy(voxels: Image) -> Image:
    moved = np.roll(voxels[::-1], (1, -1), axis=(0, 2))
    return (moved + np.random.default_rng(9).normal(0, 0.01, moved.shape)).astype(np.float32)


def test_a_scan_is_recognised_flipped_moved_and_noisy_and_another_rendering_is_not() -> None:
    scans = [image(1), image(2)]
    assert nearest_correlation(image(2), label_map(), scans) == pytest.approx(1.0, abs=1e-5)
    assert nearest_correlation(moved_and_noisy(image(2)), label_map(), scans) > 0.9
    # The same label map, so the images themselves are alike; what labels do not explain is not.
    assert np.corrcoef(image(3).ravel(), image(2).ravel())[0, 1] > 0.9
    assert nearest_correlation(image(3), label_map(), scans) < 0.6


def test_a_copy_out_of_a_larger_scan_is_recognised_too() -> None:
    larger = np.pad(image(2), ((5, 2), (0, 7), (3, 3)))
    assert nearest_correlation(image(2), label_map(), [larger]) > 0.99
    assert nearest_correlation(image(2), label_map(), []) == -1.0


def spoilt(value: float) -> Image:
    voxels = image(5)
    voxels[3, 3, 3] = value
    return voxels


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (pair(spoilt(np.nan)), "not-finite"),
        (pair(spoilt(np.inf)), "not-finite"),
        (pair(spoilt(1.5)), "out-of-range"),
        (pair(spoilt(-0.2)), "out-of-range"),
        (pair(np.full((12, 10, 8), 0.5, np.float32)), "constant"),
        (pair(image(5), np.zeros((12, 10, 8), np.uint8)), "labels"),
        (pair(image(5), label_map() * 2), "labels"),
        (pair(image(2)), "copy"),
    ],
)
def test_a_pair_that_must_not_leave_is_dropped_and_counted(bad: SyntheticPair, reason: str) -> None:
    sifted = sift_pairs([pair(image(3)), bad, bad], [image(1), image(2)], num_classes=3)
    assert sifted.dropped == {reason: 2}
    assert sifted.num_copies == (2 if reason == "copy" else 0)
    (kept,) = sifted.kept
    np.testing.assert_array_equal(kept.image, image(3))
    assert sifted.nearest < 0.6


def test_pairs_as_nnunet_pass_the_gate_and_say_everywhere_that_they_are_synthetic(model: Path, tmp_path: Path) -> None:
    site = workspace(tmp_path, [image(3), image(4), image(2)], [image(1), image(2)])
    out = tmp_path / "pairs"
    result = CliRunner().invoke(app, ["export-synthetic", str(site), str(out), "--model", str(model)])
    assert result.exit_code == EXIT_COPIES == 6
    assert "2 pairs written, dropped: 1 copy" in result.output
    centre = check_centre(out, SiteRole.SOURCE, site_id="pairs").centre
    assert [case.case_id for case in centre.train] == ["synthetic_00001", "synthetic_00002"]
    assert tuple(centre.label_names.values()) == LABELS
    description = json.loads((out / "dataset.json").read_text())
    assert description["synthetic"] is True
    assert description["DroppedPairs"] == {"copy": 1}
    for file in sorted(out.rglob("*.nii.gz")):
        header = nib.load(file).header
        assert bytes(header["descrip"]).rstrip(b"\0") == REMARK.encode()
        assert [one.get_content() for one in header.extensions] == [REMARK.encode()] or REMARK in str(header.extensions)
        np.testing.assert_allclose(header.get_zooms(), SPACING_MM)
        # The middle of the volume is the origin: a place in nobody.
        middle = header.get_best_affine() @ np.append((np.asarray(header.get_data_shape()) - 1) / 2, 1)
        np.testing.assert_allclose(middle[:3], 0, atol=1e-5)
    sidecars = [json.loads(file.read_text()) for file in (out / "sidecars").iterdir()]
    assert [sidecar["Synthetic"] for sidecar in sidecars] == [True, True]
    np.testing.assert_array_equal(np.asarray(nib.load(centre.train[0].image).dataobj), image(3))
    np.testing.assert_array_equal(np.asarray(nib.load(centre.train[0].label_map).dataobj), label_map())


def test_pairs_as_bids_derivative_have_description_sidecars_and_label_table(model: Path, tmp_path: Path) -> None:
    site = workspace(tmp_path, [image(3)], [image(1)])
    export_pairs(site, tmp_path / "bids", model=model, form=DatasetForm.BIDS, suffix="T2w")
    root = tmp_path / "bids"
    description = json.loads((root / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["Synthetic"]) == ("derivative", True)
    assert description["GeneratedBy"][0]["Description"] == REMARK
    names = sorted(file.name for file in (root / "sub-synthetic00001" / "anat").iterdir())
    assert names == [
        "sub-synthetic00001_desc-synthetic_T2w.json",
        "sub-synthetic00001_desc-synthetic_T2w.nii.gz",
        "sub-synthetic00001_desc-synthetic_dseg.json",
        "sub-synthetic00001_desc-synthetic_dseg.nii.gz",
    ]
    assert (root / "desc-synthetic_dseg.tsv").read_text().splitlines()[1:] == [
        "0\tbackground",
        "1\tcortical_gm",
        "2\tVein of Galen",
    ]


@pytest.mark.parametrize("form", list(DatasetForm))
def test_no_name_of_the_site_gets_into_a_data_set(form: DatasetForm, model: Path, tmp_path: Path) -> None:
    site = workspace(tmp_path, [image(3)], [image(1)])
    export_pairs(site, tmp_path / "out", model=model, form=form)
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if path.name.endswith(".gz"):
            content += bytes(nib.load(path).header.binaryblock) + str(nib.load(path).header.extensions).encode()
        assert holds_a_name(content + str(path.relative_to(tmp_path / "out")).encode()) == []
        assert str(tmp_path).encode() not in content


def test_without_any_pair_left_nothing_is_written(model: Path, tmp_path: Path) -> None:
    only_copies = workspace(tmp_path / "a", [image(1)], [image(1)])
    assert export_pairs(only_copies, tmp_path / "out", model=model, form=DatasetForm.BIDS).num_copies == 1
    with pytest.raises(ReleaseError, match=r"none of 1 pairs may be handed over: \{'not-finite': 1\}"):
        export_pairs(
            workspace(tmp_path / "b", [spoilt(np.nan)], [image(1)]),
            tmp_path / "out",
            model=model,
            form=DatasetForm.BIDS,
        )
    assert not (tmp_path / "out").exists()


def test_without_scans_to_compare_with_nothing_is_exported(tmp_path: Path) -> None:
    site = workspace(tmp_path, [image(3)], [image(1)])
    assert len(load_scans(site, SPACING_MM)) == 1
    with pytest.raises(ConfigError, match="so no pair can be compared"):
        load_scans(site, (1.0, 1.0, 1.0))


def test_a_workspace_without_pairs_and_an_odd_suffix_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wanted the workspace of a site that has rendered"):
        export_pairs(tmp_path, tmp_path / "out", model=model, form=DatasetForm.BIDS)
    with pytest.raises(ConfigError, match="wanted up to 20 letters"):
        export_pairs(tmp_path, tmp_path / "out", model=model, form=DatasetForm.BIDS, suffix="../T2w")
