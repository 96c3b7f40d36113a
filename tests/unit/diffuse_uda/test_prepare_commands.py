"""`diffuse-uda prepare`, from the command line to a folder that the gate lets through."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffuse_uda.cli import app
from diffuse_uda.data.intake import check_centre
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.prepare_commands.options import EXIT_WITH_WARNINGS, numbers
from diffuse_uda.types import SiteRole
from tests.layouts.anatomy import an_anatomy
from tests.layouts.brats import write_brats
from tests.layouts.btcv import write_btcv
from tests.layouts.dicom_segmentation import write_segmentation
from tests.layouts.dicom_series import SeriesTags, write_series
from tests.layouts.feta import write_atlas, write_feta
from tests.layouts.generic import STRUCTURES, write_bids, write_folders, write_msd, write_nnunet
from tests.planted import PATIENT, holds_a_name


def _run(*words: object) -> str:
    result = CliRunner().invoke(app, ["prepare", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_from_a_dicom_folder_to_a_centre_without_a_trace_of_the_header(tmp_path: Path) -> None:
    for number in range(4):
        anatomy = an_anatomy(number)
        uid = f"1.2.{number}"
        tags = SeriesTags(study=uid, series=f"{uid}.1", patient=f"{PATIENT}{number}", description=PATIENT)
        files = write_series(tmp_path / "pacs" / str(number), anatomy.image, tags)
        write_segmentation(tmp_path / "pacs" / str(number) / "seg", files, anatomy.label_map, STRUCTURES)
    out = tmp_path / "centres"
    said = _run(
        "dicom", tmp_path / "pacs", out, "--role", "target", "--name", "leeds", "--num-test", 2,
        "--structure", "ventricle", "--structure", "tumour",
    )  # fmt: skip

    folder = out / "target_leeds"
    assert f"diffuse-uda check {folder} --role target" in said
    report = check_centre(folder, SiteRole.TARGET, site_id="leeds")
    assert report.warnings == []
    assert (len(report.centre.train), len(report.centre.test)) == (2, 2)
    assert report.centre.label_names == {0: "background", 1: "ventricle", 2: "tumour"}
    assert report.centre.channel_name == "CT"
    for file in (file for file in out.rglob("*") if file.is_file()):
        content = file.read_bytes()
        plain = gzip.decompress(content) if file.name.endswith(".gz") else content
        assert holds_a_name(plain + str(file.relative_to(out)).encode()) == []
        assert b"1.2.0" not in plain
        assert b"2020" not in plain
    names = json.loads((tmp_path / "centres-case-names-private.json").read_text())
    assert {entry["case"] for entry in names["target_leeds"].values()} == {f"1.2.{number}" for number in range(4)}


@pytest.mark.parametrize("layout", ["bids", "msd", "nnunet", "folders"])
def test_every_generic_format_becomes_a_source(layout: str, tmp_path: Path) -> None:
    write = {"bids": write_bids, "msd": write_msd, "nnunet": write_nnunet, "folders": write_folders}[layout]
    write(tmp_path / "in", {f"p{number}": an_anatomy(number) for number in range(3)})
    more = ["--image", "{case}/t1.nii.gz", "--label-map", "{case}/seg.nii.gz", "--channel", "T1w"]
    more += ["--label", "ventricle=1", "--label", "tumour=2"]
    _run(
        layout, tmp_path / "in", tmp_path / "out", "--role", "source", "--name", "a",
        *(more if layout == "folders" else []),
    )  # fmt: skip

    report = check_centre(tmp_path / "out" / "source_a", SiteRole.SOURCE, site_id="a")
    assert report.warnings == []
    assert report.centre.label_names == {0: "background", 1: "ventricle", 2: "tumour"}
    assert len(report.centre.train) == 3


def test_published_data_sets_have_a_command_each(tmp_path: Path) -> None:
    write_feta(tmp_path / "feta")
    write_atlas(tmp_path / "atlas")
    shifted = [f"--atlas-label={tissue}={10 + number}" for number, tissue in enumerate(
        ["external_cerebrospinal_fluid", "grey_matter", "white_matter", "ventricles", "cerebellum",
         "deep_grey_matter", "brainstem"], start=1)]  # fmt: skip
    _run("feta", tmp_path / "feta", tmp_path / "a", "--atlas", tmp_path / "atlas", *shifted)
    _run("brats", write_brats(tmp_path / "brats"), tmp_path / "e", "--source", "t2")
    _run("btcv", write_btcv(tmp_path / "btcv"), tmp_path / "b", "--role", "target", "--all-organs")
    for words in (["mmwhs", "--source", "mr"], ["chaos", "--target", "t1dual", "--btcv", str(tmp_path / "btcv")]):
        with pytest.raises(InputError, match="not-as-published"):
            _run(words[0], tmp_path / "atlas", tmp_path / "c", *words[1:])

    assert sorted(folder.name for letter in "abe" for folder in (tmp_path / letter).iterdir()) == [
        "source_atlas",
        "source_t2",
        "target_ct",
        "target_feta",
        "target_flair",
    ]


def test_broken_cases_can_be_left_out_with_a_code_of_their_own(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "in", {f"p{number}": an_anatomy(number) for number in range(3)})
    shutil.copy(tmp_path / "in" / "dataset.json", tmp_path / "in" / "imagesTr" / "p1_0000.nii.gz")
    words = ["prepare", "nnunet", str(tmp_path / "in"), str(tmp_path / "out"), "--role", "source", "--name", "a"]

    with pytest.raises(InputError, match="wrong-ending"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    result = CliRunner().invoke(app, [*words, "--skip-broken"], catch_exceptions=False)
    assert result.exit_code == EXIT_WITH_WARNINGS
    assert "wrong-ending" in result.output
    assert json.loads((tmp_path / "out" / "source_a" / "dataset.json").read_text())["numTraining"] == 2


def test_options_of_another_form_are_refused() -> None:
    assert numbers(["a=1", "b=2,3"]) == {"a": (1,), "b": (2, 3)}
    for texts in (["a"], ["a="], ["=1"], ["a=x"], ["a=1", "a=2"]):
        with pytest.raises(ConfigError):
            numbers(texts)


def test_the_command_line_starts_without_the_libraries_of_formats() -> None:
    code = (
        "import sys, diffuse_uda.prepare_commands; "
        "print([name for name in ('pydicom', 'highdicom', 'SimpleITK', 'skimage', 'torch') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert result.stdout.strip() == "[]"
