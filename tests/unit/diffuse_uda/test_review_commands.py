"""`diffuse-uda report` and `diffuse-uda verdicts`, as a hospital types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffuse_uda.cli import app
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.models import initial_weights
from diffuse_uda.review.site_report import MANIFEST
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.training.prediction import segmenter_metadata
from diffuse_uda.types import ModelName
from simulations.rehearsal.stage import write_toml
from tests.review_cases import NAMES, ellipsoid, six_cases, write_scan, write_volume

TINY = StudyConfig.from_flat(
    {
        "grid.patch-size": "[16, 16, 16]",
        "grid.spacing-mm": "[2.0, 2.0, 2.5]",
        "segmenter.channels": "[4, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention-levels": "[false, false]",
        "denoiser.num-groups": 4,
        "compute.device": "cpu",
    }
)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "dataset.json"
    labels = {name: value for value, name in enumerate(NAMES)}
    content = {"channel_names": {"0": "T1w"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_scans_and_a_segmenter_are_enough(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a_0000.nii.gz", ellipsoid(0.9), 0)
    model = tmp_path / "segmenter"
    save_checkpoint(model, initial_weights(TINY, ModelName.SEGMENTER, len(NAMES)), segmenter_metadata(TINY, NAMES))
    out = tmp_path / "report"
    said = _run("report", tmp_path / "scans", "--model", model, "--out", out)
    assert "1 cases" in said
    assert "it stays here" in said
    assert (out / "report.html").exists()
    assert (out / "predictions" / "a.nii.gz").exists()


def test_from_predictions_that_are_there_to_a_list_of_accepted_cases(tmp_path: Path, description: Path) -> None:
    six_cases(tmp_path)
    out = tmp_path / "report"
    places = ("--predictions", tmp_path / "found", "--references", tmp_path / "drawn", "--labels", description)
    _run("report", tmp_path / "scans", "--out", out, *places, "--slices", 4)
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["cases"]["case0"]["dice"] is not None
    given = [
        {"case": "case2", "verdict": "accept", "at": "2026-11-22T09:00:00Z"},
        {"case": "case5", "verdict": "reject", "at": "2026-11-22T09:00:01Z"},
    ]
    said = {"kind": "diffuse-uda-verdicts", "schema": 1, "report": manifest["report"], "saved": "x", "verdicts": given}
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps(said), encoding="utf-8")
    shown = _run("verdicts", file, "--report", out)
    assert "1 accepted" in shown
    assert "4 not judged" in shown
    assert (out / "accepted.txt").read_text(encoding="utf-8") == "case2\n"
    as_json = json.loads(_run("verdicts", file, "--report", out, "--json"))
    assert as_json["verdicts"]["case5"]["verdict"] == "reject"
    assert as_json["open"] == [case for case in manifest["cases"] if case not in {"case2", "case5"}]


def test_a_site_s_settings_are_enough_once_an_evaluation_has_left_predictions(
    tmp_path: Path, description: Path
) -> None:
    data, workspace = tmp_path / "data", tmp_path / "workspace"
    label_map = ellipsoid(0.9)
    write_scan(data / "imagesTr" / "a_0000.nii.gz", label_map, 0)
    for number, name in enumerate("bc", start=1):
        write_scan(data / "imagesTs" / f"{name}_0000.nii.gz", label_map, number)
        write_volume(data / "labelsTs" / f"{name}.nii.gz", label_map)
        for row in ("source-only", "asc-plus"):
            write_volume(workspace / "evaluation" / row / f"{name}.nii.gz", label_map)
            (workspace / "evaluation" / row / "scores.json").write_text("{}", encoding="utf-8")
    description.rename(data / "dataset.json")
    settings = tmp_path / "site.toml"
    values = {
        "site-id": "leeds",
        "role": "target",
        "data-dir": "data",
        "workspace": "workspace",
        "state-dir": "state",
        "hub": "hub.example.org:8443",
        "ca": "ca.pem",
        "key": "leeds.key",
        "approved-bundles": "approved.txt",
    }
    write_toml(settings, values)
    _run("report", "--site", settings)
    manifest = json.loads((workspace / "report" / MANIFEST).read_text(encoding="utf-8"))
    assert set(manifest["cases"]) == {"b", "c"}
    assert all("asc-plus" in case["prediction"] and case["dice"] == 1.0 for case in manifest["cases"].values())
    assert manifest["title"] == "Cases of leeds"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a_0000.nii.gz", ellipsoid(0.9), 0)
    with pytest.raises(ConfigError, match="--site"):
        _run("report")
    with pytest.raises(ConfigError, match="--out"):
        _run("report", tmp_path / "scans")
    with pytest.raises(ConfigError, match="--model"):
        _run("report", tmp_path / "scans", "--out", tmp_path / "out")
