"""A model leaves in forms that say what it says, or not at all, with a card that names nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from diffuse_uda.config import GridConfig, SegmenterConfig, StudyConfig
from diffuse_uda.data.cases import prepare_volume
from diffuse_uda.data.volumes import Volume, load_volume, save_volume
from diffuse_uda.errors import ConfigError, ReleaseError
from diffuse_uda.export import bundle, model_export
from diffuse_uda.export.agreement import check_batches, require_same_logits
from diffuse_uda.export.bundle import run_alone, write_bundle
from diffuse_uda.export.bundle_config import inference_config
from diffuse_uda.export.check_scan import check_scan
from diffuse_uda.export.forms import ModelForm
from diffuse_uda.export.model_export import Owner, export_model
from diffuse_uda.export.onnx_model import write_onnx
from diffuse_uda.export.plain_weights import write_plain_weights
from diffuse_uda.export.release import released_folder
from diffuse_uda.export.run_facts import find_segmenter
from diffuse_uda.models import build_segmenter, initial_weights
from diffuse_uda.models.segmenter import segmenter_architecture
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.training.prediction import load_segmenter, segment_volume, segmenter_metadata
from diffuse_uda.types import ModelName
from tests.planted import PATIENT, STEM, holds_a_name
from tests.unit.diffuse_uda.export.placed_scans import ORDERS, scan

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABELS = ("background", "liver", "spleen")
NETWORKS = {
    "unet": SegmenterConfig(channels=(4, 8)),
    "unet on blocks": SegmenterConfig(channels=(4, 8), stem=2),
    "segresnet": SegmenterConfig(kind="segresnet", channels=(8,), blocks_down=(1, 1), blocks_up=(1,)),
}


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Path:
    """A finished run whose sites bear a patient's name."""
    folder = tmp_path / STEM / "run"
    target = f"{STEM}-leeds"
    weights = initial_weights(study, ModelName.SEGMENTER, len(LABELS))
    facts = {**segmenter_metadata(study, LABELS), "site": target}
    save_checkpoint(folder / "segmenters" / target, weights, facts)
    sites = [
        {"site_id": f"{STEM}-source", "role": "source", "num_cases": 24, "num_test_cases": 6},
        {"site_id": target, "role": "target", "num_cases": 12, "num_test_cases": 8},
    ]
    (folder / "federation.json").write_text(json.dumps({"config": {}, "label_names": LABELS, "sites": sites}))
    scores = {"diffuse-uda": {target: {"state": "used", "num_examples": 8, "dice": 0.8125, "note": 1.0}}}
    (folder / "evaluation.json").write_text(json.dumps(scores))
    replied = {"state": "used", "num_examples": 12, "metrics": {"confidence": 0.75}, "reason": PATIENT}
    lines = [
        {"phase": "warm-up", "server_round": 1, "sites": {}},
        {"phase": "warm-up", "server_round": 2, "sites": {}},
        {"phase": "pseudo-label", "server_round": 1, "sites": {target: replied}},
    ]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.slow
def test_a_model_leaves_in_three_forms_that_say_the_same_and_name_nobody(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = export_model(run, out, forms=tuple(ModelForm), made_at=NOW, site=f"{STEM}-leeds")
    assert card["checks"]["safetensors"]["largest_logit_difference"] == 0
    assert card["checks"]["onnx"]["largest_logit_difference"] < 1e-4
    agreement = card["checks"]["bundle"]
    assert agreement["num_different"] <= 0.002 * agreement["num_voxels"]
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {
        "architecture.json",
        "bundle/configs/inference.json",
        "bundle/configs/metadata.json",
        "bundle/docs/README.md",
        "bundle/models/model.pt",
        "model.onnx",
        "model.safetensors",
        "model_card.json",
        "model_card.md",
    }
    here = str(Path(__file__).resolve().parents[4]).encode()
    for name in files:
        content = (out / name).read_bytes()
        assert holds_a_name(content) == [], name
        assert here not in content, name
        assert b"site-packages" not in content, name
        assert str(tmp_path).encode() not in content, name
    # And once more as a stranger would, on a scan of other axes.
    scans = tmp_path / "scans"
    scans.mkdir()
    volume = scan(ORDERS[17], (12.0, -8.0, 17.0))
    save_volume(scans / "a.nii.gz", volume, dtype="int16")
    run_alone(out / "bundle", scans, tmp_path / "predictions")
    theirs = load_volume(tmp_path / "predictions" / "a_seg.nii.gz")
    ours = segment_volume(load_segmenter(run / "segmenters" / f"{STEM}-leeds").network_alone(), volume)
    np.testing.assert_allclose(theirs.affine_mm, ours.affine_mm, atol=1e-5)
    np.testing.assert_array_equal(theirs.voxels, ours.voxels)


def test_the_card_tells_counts_rounds_and_scores_under_pseudonyms(run: Path, tmp_path: Path) -> None:
    owner = Owner(labelled_by="two radiologists")
    card = export_model(
        run, tmp_path / "out", forms=[ModelForm.SAFETENSORS], made_at=NOW, site=f"{STEM}-leeds", owner=owner
    )
    assert card["model"]["made_for"] == "target-1"
    assert card["model"]["licence"] == "TO BE FILLED IN"
    assert [site["site"] for site in card["training"]["sites"]] == ["source", "target-1"]
    assert card["training"]["rounds"] == {"warm-up": 2, "pseudo-label": 1}
    assert card["quality"]["without_labels"] == {"target-1": 0.75}
    assert card["quality"]["scores"] == {"target-1": {"diffuse-uda": {"dice": 0.8125}}}
    assert card["quality"]["labelled_by"] == "two radiologists"
    assert "name" not in card["training"]["plan"]
    text = (tmp_path / "out" / "model_card.md").read_text()
    assert "| target-1 | target | 12 | 8 |" in text
    assert "Liver (SCT 10200004)" in text
    for words in (
        "TO BE FILLED IN",
        "two radiologists",
        "0.8125",
        "Not a medical device",
        "Exported forms hold the network alone",
        card["training"]["plan_sha256"],
    ):
        assert words in text
    assert json.loads((tmp_path / "out" / "model_card.json").read_text()) == card
    assert holds_a_name(json.dumps(card).encode() + text.encode()) == []


def test_a_segmenter_without_its_run_has_a_card_that_says_so(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (run / "segmenters" / f"{STEM}-leeds").rename(alone)
    export_model(alone, tmp_path / "out", forms=[], made_at=NOW)
    assert "sites, counts and rounds are not known here" in (tmp_path / "out" / "model_card.md").read_text()


def test_a_run_without_that_segmenter_names_those_that_are_there(run: Path) -> None:
    with pytest.raises(ConfigError, match=f"no segmenter in .*segmenter; .*: {STEM}-leeds"):
        find_segmenter(run, None)
    assert find_segmenter(run / "segmenters" / f"{STEM}-leeds", None)[1] == run


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_two_plain_files_give_the_same_network_by_monai_alone(kind: str, tmp_path: Path) -> None:
    model = build_segmenter(NETWORKS[kind], 3).eval()
    architecture = segmenter_architecture(NETWORKS[kind], 3)
    grid = GridConfig(patch_size=(8, 8, 8))
    assert write_plain_weights(tmp_path, model, architecture, grid, {"label_names": LABELS}) == 0.0
    assert "diffuse_uda" not in (tmp_path / "architecture.json").read_text()


@pytest.mark.slow
def test_onnx_takes_any_batch_and_says_what_torch_says(tmp_path: Path) -> None:
    model = build_segmenter(NETWORKS["unet"], 3).eval()
    assert write_onnx(tmp_path / "model.onnx", model, GridConfig(patch_size=(8, 8, 8))) < 1e-4


class Off(nn.Module):
    """A network and a constant."""

    def __init__(self, network: nn.Module, by: float) -> None:
        super().__init__()
        self.network, self.by = network, by

    def forward(self, volumes: Tensor) -> Tensor:
        logits: Tensor = self.network(volumes)
        return logits + self.by


def test_an_export_that_is_more_than_a_thousandth_off_is_refused() -> None:
    model = build_segmenter(NETWORKS["unet"], 3).eval()
    batches = check_batches(GridConfig(patch_size=(8, 8, 8)))
    assert [len(batch) for batch in batches] == [1, 3, 1]
    assert require_same_logits("ONNX", model, Off(model, 5e-4), batches) == pytest.approx(5e-4, rel=1e-2)
    for by in (2e-3, -2e-3, float("nan")):
        with pytest.raises(ReleaseError, match="ONNX: logits differ"):
            require_same_logits("ONNX", model, Off(model, by), batches)


def test_what_fails_its_check_is_not_left_behind(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> float:
        msg = "ONNX: logits differ"
        raise ReleaseError(msg)

    monkeypatch.setattr(model_export, "write_onnx", fails)
    forms = [ModelForm.SAFETENSORS, ModelForm.ONNX]
    out = tmp_path / "there" / "out"
    with pytest.raises(ReleaseError):
        export_model(run, out, forms=forms, made_at=NOW, site=f"{STEM}-leeds")
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ours: Volume(voxels=np.roll(ours.voxels, 1, axis=0), affine_mm=ours.affine_mm), "another class"),
        (lambda ours: Volume(voxels=ours.voxels, affine_mm=ours.affine_mm + np.eye(4, k=3)), "elsewhere"),
        (None, "wrote 0 label maps"),
    ],
)
def test_a_bundle_that_says_something_else_under_monai_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object, words: str
) -> None:
    segmenter = load_segmenter(run / "segmenters" / f"{STEM}-leeds")

    def pretends(_bundle: Path, _scans: Path, out: Path) -> None:
        out.mkdir()
        if callable(change):
            ours = segment_volume(segmenter, check_scan(segmenter.config.grid))
            save_volume(out / "check_seg.nii.gz", change(ours), dtype="uint8")

    monkeypatch.setattr(bundle, "run_alone", pretends)
    about = dict.fromkeys(("version", "description", "authors", "license", "intended_use"), "x")
    with pytest.raises(ReleaseError, match=words):
        write_bundle(tmp_path / "bundle", segmenter, about, scratch=tmp_path / "scratch")


def erased() -> Volume:
    """Zeros around a body that is off the middle; larger than a patch along every axis."""
    volume = check_scan(GridConfig(spacing_mm=(2.0, 3.0, 4.0), patch_size=(24, 20, 16)))
    voxels = volume.voxels.copy()
    voxels[:9], voxels[:, -5:], voxels[:, :, :3] = 0, 0, 0
    return Volume(voxels=voxels, affine_mm=volume.affine_mm)


def on_the_grid() -> Volume:
    voxels = erased().voxels
    return Volume(voxels=voxels, affine_mm=np.diag([-2.0, 3.0, 4.0, 1.0]))


@pytest.mark.parametrize(
    "volume",
    [erased(), on_the_grid(), check_scan(GridConfig(spacing_mm=(2.0, 3.0, 4.0))), scan(ORDERS[5], (12.0, -8.0, 17.0))],
    ids=["erased background", "already on the grid", "noisy background, coarser and finer", "smaller than a patch"],
)
def test_stock_monai_shows_the_network_what_we_show_it(volume: Volume, tmp_path: Path) -> None:
    grid = GridConfig(spacing_mm=(2.0, 3.0, 4.0), patch_size=(16, 16, 16))
    file = tmp_path / "scan.nii.gz"
    save_volume(file, volume, dtype="int16")
    config = inference_config(segmenter_architecture(NETWORKS["unet"], 3), grid)
    theirs = ConfigParser(config).get_parsed_content("preprocessing")({"image": str(file)})["image"]
    ours = prepare_volume("", load_volume(file), None, grid.spacing_mm, grid.patch_size)
    np.testing.assert_allclose(theirs.affine.numpy(), ours.affine_mm, atol=1e-4)
    torch.testing.assert_close(theirs.as_tensor(), ours.image, atol=2e-5, rtol=0)


def test_the_check_scan_is_the_same_every_time_and_has_contrast() -> None:
    one, other = check_scan(GridConfig()), check_scan(GridConfig())
    np.testing.assert_array_equal(one.voxels, other.voxels)
    assert one.voxels.max() > 4 * np.median(one.voxels)
    assert one.orientation == "LPS"


def test_a_folder_that_is_there_is_never_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with released_folder(tmp_path / "out") as draft:  # an empty one is taken
        (draft / "a").write_text("a")
    with pytest.raises(ConfigError, match="wanted a new folder"), released_folder(tmp_path / "out"):
        pass
    with pytest.raises(FileNotFoundError), released_folder(tmp_path / "other") as draft:
        (draft / "no such folder" / "a").write_text("a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
