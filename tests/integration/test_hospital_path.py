"""The README's path, command by command: from a DICOM folder to an adapted segmentation in the PACS's own format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from diffuse_uda.cli import app as diffuse_uda
from diffuse_uda.data.formats.nnunet import read_centre
from diffuse_uda.data.volumes import Volume, load_volume
from diffuse_uda.types import Scalar
from simulations.__main__ import app as simulations
from tests.layouts.dicom_series import SeriesTags, write_series

PATIENT = "PLANTED^NAME"
pytestmark = pytest.mark.slow


def _run(app: object, *words: str) -> str:
    """What a person would type, without the program's name."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


def _pacs(folder: Path, centre: Path) -> Path:
    """Every training scan of a centre as a study of its own, under names that say nothing."""
    for number, case in enumerate(read_centre(centre, "any").train, start=1):
        scan = load_volume(case.image)
        stored = Volume(voxels=np.rint(1000 * scan.voxels / scan.voxels.max()), affine_mm=scan.affine_mm)
        tags = SeriesTags(
            modality="MR",
            study=f"1.2.{number}",
            series=f"1.2.{number}.1",
            frame_of_reference=f"1.2.{number}.9",
            patient=f"{PATIENT}{number}",
        )
        write_series(folder / f"export-{number}", stored, tags)
    return folder


def test_from_a_dicom_folder_to_an_adapted_segmentation_in_four_commands(
    tiny_cohort: list[Path], tiny_config: dict[str, Scalar], tmp_path: Path
) -> None:
    source, target = tiny_cohort[:2]
    pacs, centres, runs = _pacs(tmp_path / "pacs", target), tmp_path / "centres", tmp_path / "runs"

    structures = [name for value, name in read_centre(source, "any").label_names.items() if value > 0]
    classes = [word for name in structures for word in ("--structure", name)]
    _run(diffuse_uda, "prepare", "dicom", str(pacs), str(centres), "--role", "target", "--name", "leeds", *classes)
    _run(diffuse_uda, "check", str(centres / "target_leeds"), "--role", "target", "--html", str(tmp_path / "page.html"))
    shutil.copytree(source, centres / "source_york")  # the other hospital's, which a federation never sees
    overrides = [word for key, value in tiny_config.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    overrides = [word.replace('"', "").replace("=True", "=true") for word in overrides]
    _run(simulations, "demo", "--data", str(centres), "--name", "path", "--out", str(runs), *overrides)
    series = pacs / "export-1"
    model = runs / "path" / "segmenters" / "target_leeds"
    _run(
        diffuse_uda, "predict", str(series), "--model", str(model), "--out", str(tmp_path / "out"), "--as", "dicom-seg"
    )

    (written,) = (tmp_path / "out").iterdir()
    found, image = pydicom.dcmread(written), pydicom.dcmread(next(iter(series.iterdir())))
    assert found.Modality == "SEG"
    assert found.StudyInstanceUID == image.StudyInstanceUID
    assert (found.Rows, found.Columns) == (image.Rows, image.Columns)
    for folder in (centres / "target_leeds", runs):  # what a run sees and leaves knows no patient
        for file in folder.rglob("*"):
            assert not file.is_file() or b"PLANTED" not in file.read_bytes(), file
