"""Verbs that hand something over, as a hospital types them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from diffuse_uda.cli import app
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.volumes import load_volume, save_volume
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.models import initial_weights
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.training.prediction import segmenter_metadata
from diffuse_uda.types import ModelName, Scalar
from tests.planted import PATIENT, holds_a_name
from tests.unit.diffuse_uda.export.dicom_files import write_series
from tests.unit.diffuse_uda.export.placed_scans import ORDERS, scan

NAMES = ("background", "left ventricle", "myocardium")
SMALL: dict[str, Scalar] = {
    "grid.patch-size": "[8, 8, 8]",
    "grid.spacing-mm": "[2.0, 3.0, 4.0]",
    "segmenter.channels": "[4, 8]",
    "denoiser.channels": "[8, 16]",
    "denoiser.attention-levels": "[false, false]",
    "denoiser.num-groups": 4,
    "compute.device": "cpu",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    study = StudyConfig.from_flat(SMALL)
    weights = initial_weights(study, ModelName.SEGMENTER, len(NAMES))
    save_checkpoint(tmp_path / "segmenter", weights, segmenter_metadata(study, NAMES))
    return tmp_path / "segmenter"


def test_predict_takes_a_dicom_series_and_writes_a_dicom_segmentation(model: Path, tmp_path: Path) -> None:
    series = write_series(tmp_path / "series", scan(ORDERS[3]))
    arguments = [str(series), "--model", str(model), "--out", str(tmp_path / "out"), "--as", "dicom-seg"]
    result = CliRunner().invoke(app, ["predict", *arguments])
    assert result.exit_code == 0, result.output
    (file,) = (tmp_path / "out").iterdir()
    found = pydicom.dcmread(file)
    assert found.PatientID == "4711"
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == list(NAMES[1:])
    assert CliRunner().invoke(app, ["predict", *arguments, "--anonymous"]).exit_code == 0
    (anonymous,) = set((tmp_path / "out").iterdir()) - {file}
    assert not pydicom.dcmread(anonymous).PatientID


def test_predict_writes_nifti_for_a_series_unless_told_otherwise(model: Path, tmp_path: Path) -> None:
    series = write_series(tmp_path / "series", scan(ORDERS[3]))
    CliRunner().invoke(app, ["predict", str(series), "--model", str(model), "--out", str(tmp_path / "out")])
    assert load_volume(tmp_path / "out" / "series.nii.gz").shape == scan(ORDERS[3]).shape


def test_a_dicom_segmentation_of_a_nifti_scan_is_refused(model: Path, tmp_path: Path) -> None:
    save_volume(tmp_path / "a.nii.gz", scan(ORDERS[0]), dtype="int16")
    result = CliRunner().invoke(
        app,
        ["predict", str(tmp_path / "a.nii.gz"), "--model", str(model), "--out", str(tmp_path), "--as", "dicom-seg"],
    )
    assert isinstance(result.exception, InputError)
    assert "for a NIfTI scan, --as nifti" in str(result.exception)


def test_the_header_of_a_predicted_label_map_is_made_from_nothing(model: Path, tmp_path: Path) -> None:
    save_volume(tmp_path / "a.nii", scan(ORDERS[11], (12.0, -8.0, 17.0)), dtype="int16")
    image = nib.load(tmp_path / "a.nii")
    for name, length in (("descrip", 79), ("aux_file", 23), ("db_name", 17), ("intent_name", 15)):
        image.header[name] = PATIENT.encode()[:length]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PATIENT.encode() * 9))
    (tmp_path / "in").mkdir()
    planted = tmp_path / "in" / "a_0000.nii.gz"
    nib.save(image, planted)
    assert holds_a_name(gzip.decompress(planted.read_bytes())) != []
    CliRunner().invoke(app, ["predict", str(planted), "--model", str(model), "--out", str(tmp_path / "out")])
    file = tmp_path / "out" / "a.nii.gz"
    assert holds_a_name(gzip.decompress(file.read_bytes())) == []
    assert holds_a_name(file.read_bytes()) == []
    header = nib.load(file).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_slope_inter() in {(None, None), (1.0, 0.0)}
    assert header.get_data_dtype() == np.uint8


def test_export_writes_a_model_and_says_what_was_measured(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["export", str(model), str(out), "--as", "safetensors", "--licence", "CC-BY-4.0"])
    assert result.exit_code == 0, result.output
    assert "safetensors: largest_logit_difference 0" in result.output
    assert "**CC-BY-4.0**" in (out / "model_card.md").read_text()
    again = CliRunner().invoke(app, ["export", str(model), str(out)])
    assert isinstance(again.exception, ConfigError)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = ("highdicom", "SimpleITK", "onnx", "onnxruntime", "onnxscript")
    code = f"import diffuse_uda.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).resolve().parents[3]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
