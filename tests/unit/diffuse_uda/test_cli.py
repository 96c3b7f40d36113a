"""The offline command line, as a hospital types it."""

import json
from pathlib import Path

import click
import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from diffuse_uda.cli import app, main
from diffuse_uda.command_line import EXIT_INTERRUPTED, EXIT_REFUSED, run_command_line
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.errors import InputError
from diffuse_uda.models import initial_weights
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.training.prediction import segmenter_metadata
from diffuse_uda.types import ModelName

TINY = StudyConfig.from_flat(
    {
        "grid.patch-size": "[16, 16, 16]",
        "segmenter.channels": "[4, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention-levels": "[false, false]",
        "denoiser.num-groups": 4,
        "compute.device": "cpu",
    }
)
NAMES = ("background", "cortex", "white_matter")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = initial_weights(TINY, ModelName.SEGMENTER, len(NAMES))
    save_checkpoint(tmp_path / "segmenter", weights, segmenter_metadata(TINY, NAMES))
    return tmp_path / "segmenter"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    voxels = np.random.default_rng(0).random((16, 18, 16)).astype(np.float32) + 0.1
    for name in ("a_0000.nii.gz", "b_0000.nii.gz"):
        save_volume(folder / name, Volume(voxels=voxels, affine_mm=np.diag([4.0, 4.0, 4.0, 1.0])), dtype="float32")
    return folder


def test_predict_writes_one_label_map_a_scan_on_the_scans_grid(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["predict", str(scans), "--model", str(model), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    assert nib.load(out / "a.nii.gz").shape == (16, 18, 16)


def test_predict_says_when_there_is_nothing_to_predict(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(
        app, ["predict", str(tmp_path / "empty"), "--model", str(model), "--out", str(tmp_path / "out")]
    )
    assert isinstance(result.exception, InputError)
    assert "no NIfTI file" in str(result.exception)


def test_evaluate_prints_a_table_or_json(tmp_path: Path) -> None:
    label_map = np.zeros((8, 8, 8), dtype=np.uint8)
    label_map[2:6, 2:6, 2:6] = 1
    for folder in ("predictions", "references"):
        (tmp_path / folder).mkdir()
        volume = Volume(voxels=label_map, affine_mm=np.diag([2.0, 2.0, 2.0, 1.0]))
        save_volume(tmp_path / folder / "case.nii.gz", volume, dtype="uint8")
    folders = [str(tmp_path / "predictions"), str(tmp_path / "references")]
    assert "1.000" in CliRunner().invoke(app, ["evaluate", *folders]).output
    scores = json.loads(CliRunner().invoke(app, ["evaluate", *folders, "--json"]).output)
    assert scores["case"]["class-1"]["dice"] == 1.0


def test_config_prints_every_key_of_a_preset_or_a_study(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["config", "--preset", "paper"]).output
    assert 'segmenter.kind = "segresnet"' in shown
    study = tmp_path / "study.toml"
    study.write_text("seed = 7\n")
    assert "seed = 7" in CliRunner().invoke(app, ["config", "--study", str(study)]).output


def test_check_names_the_centre_and_counts_its_scans(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["diffuse-uda", "check", str(tmp_path / "nowhere"), "--role", "source"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == EXIT_REFUSED
    assert "no such folder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "stopped by Ctrl-C"),
        (click.Abort(), EXIT_INTERRUPTED, "stopped by Ctrl-C"),
        (typer.BadParameter("wanted KEY=VALUE"), EXIT_REFUSED, "wanted KEY=VALUE"),
    ],
)
def test_the_end_of_a_command_is_an_exit_code_and_a_line_without_a_traceback(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = typer.Typer()

    @commands.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["x"])
    assert run_command_line(commands) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_a_command_that_ends_well_returns_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = typer.Typer()

    @commands.command()
    def succeed() -> None:
        pass

    monkeypatch.setattr("sys.argv", ["x"])
    assert run_command_line(commands) == 0
