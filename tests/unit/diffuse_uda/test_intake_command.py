"""`diffuse-uda check` as a hospital types it: a table, JSON, a page, corrected copies, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from diffuse_uda.cli import app
from diffuse_uda.command_line import EXIT_LOOK, EXIT_REFUSED
from diffuse_uda.data.rules.page import rules_page


@pytest.fixture
def centre(tmp_path: Path) -> Path:
    """The smallest centre that is one: two training scans of 6 x 5 x 4 voxels."""
    import numpy as np  # noqa: PLC0415 - beside what needs it

    from diffuse_uda.data.volumes import Volume, save_volume  # noqa: PLC0415

    root = tmp_path / "leeds"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    label_map = np.zeros((6, 5, 4), np.uint8)
    label_map[1:5, 1:4, 1:3] = 1
    for index in range(2):
        scan = np.random.default_rng(index).integers(1, 30, (6, 5, 4)).astype(np.int16) + 400 * (label_map > 0)
        for name, voxels in ((f"imagesTr/c{index}_0000", scan.astype(np.int16)), (f"labelsTr/c{index}", label_map)):
            volume = Volume(voxels=voxels, affine_mm=np.diag([2.0, 2.0, 2.0, 1.0]))
            save_volume(root / f"{name}.nii.gz", volume, dtype=voxels.dtype)
    description = {"channel_names": {"0": "T1w"}, "labels": {"background": 0, "heart": 1}, "numTraining": 2}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def _check(*words: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, words), "--role", "source"])


def _plain(result: Result) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_a_sound_centre_ends_with_zero_and_one_line(centre: Path) -> None:
    result = _check(centre)
    assert result.exit_code == 0, result.output
    assert "leeds (source): 2 training and 0 held-out scans are in order, 0 cases quarantined" in result.stdout
    assert "checking" in result.stderr


def test_a_quarantined_case_ends_with_six_and_a_table(centre: Path) -> None:
    (centre / "imagesTr/c0_0000.nii.gz").write_bytes(b"")
    result = _check(centre)
    assert result.exit_code == EXIT_LOOK
    for word in ("CASE", "F02", "empty-file", "WARN", "C07", "few-cases", "1 cases quarantined"):
        assert word in result.stdout


def test_a_refused_centre_ends_with_two(centre: Path) -> None:
    (centre / "dataset.json").write_text("{")
    result = _check(centre)
    assert result.exit_code == EXIT_REFUSED
    assert "invalid-dataset-json" in _plain(_check(centre, "--json"))["findings"][0]["rule"]


def test_the_help_says_the_exit_codes() -> None:
    words = " ".join(CliRunner().invoke(app, ["check", "--help"]).output.split())
    assert "Exit code 0: everything is fine. 6:" in words
    assert "2: refused." in words


def test_json_has_findings_with_their_row_of_the_table_and_facts_of_every_case(centre: Path) -> None:
    (centre / "imagesTr/c0_0000.nii.gz").write_bytes(b"")
    plain = _plain(_check(centre, "--json"))
    assert (plain["verdict"], plain["quarantined"], plain["num_training"]) == ("look", ["c0"], 1)
    assert plain["findings"][0] | {"file": ""} == {
        "code": "F02",
        "rule": "empty-file",
        "reaction": "CASE",
        "case": "c0",
        "file": "",
        "found": "zero bytes",
        "wanted": "a scan",
        "fix": "copy the file again from its origin and compare checksums",
    }
    assert [case["verdict"] for case in plain["cases"]] == ["quarantined", "fine"]
    assert plain["cases"][0]["scan"] is None
    assert plain["cases"][1]["scan"]["orientation"] == "RAS"
    assert plain["cases"][1]["labels"]["values"] == [0, 1]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_shows_every_case_flagged_ones_first_and_loads_nothing(centre: Path, tmp_path: Path) -> None:
    (centre / "imagesTr/c1_0000.nii.gz").write_bytes(b"")
    assert _check(centre, "--html", tmp_path / "page.html").exit_code == EXIT_LOOK
    text = (tmp_path / "page.html").read_text()
    page = _Page()
    page.feed(text)
    cards = [attributes["class"] for tag, attributes in page.seen if tag == "article"]
    assert cards == ["quarantined", "fine"]
    images = [attributes["src"] or "" for tag, attributes in page.seen if tag == "img"]
    assert len(images) == 1
    assert images[0].startswith("data:image/png;base64,iVBOR")
    assert not [tag for tag, _ in page.seen if tag in {"script", "link", "iframe"}]
    assert "empty-file" in text
    assert "c1" in text


def test_nothing_is_written_into_the_centre(centre: Path) -> None:
    result = _check(centre, "--html", centre / "page.html")
    assert "inside of the centre's folder" in str(result.exception)
    assert not (centre / "page.html").exists()


def test_corrected_copies_need_a_place_and_say_what_was_before_and_after(centre: Path, tmp_path: Path) -> None:
    assert _check(centre, "--assume-spacing", "1,1,1").exit_code == EXIT_REFUSED
    assert _check(centre, "--fix", tmp_path / "out", "--assume-spacing", "1,x,1").exit_code == EXIT_REFUSED
    described = json.loads((centre / "dataset.json").read_text())
    (centre / "dataset.json").write_text(json.dumps(described | {"numTraining": 9}))
    result = _check(centre, "--fix", tmp_path / "out")
    assert result.exit_code == EXIT_LOOK
    assert "numTraining 9 -> numTraining 2" in "".join(result.stderr.split("\n"))
    assert _check(tmp_path / "out").exit_code == 0


def test_the_rules_are_printed_as_the_page_that_is_in_docs() -> None:
    assert CliRunner().invoke(app, ["rules"]).stdout == rules_page()


def test_a_first_line_comes_before_anything_heavy_is_imported() -> None:
    """Workers import the command line once more, so it must not bring torch along either."""
    code = (
        "import sys, diffuse_uda.cli; print(sorted({'torch', 'nibabel', 'scipy', 'matplotlib'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
