"""Every stage of Diffuse-UDA through the real server and client, on scans of sixteen voxels."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.reporting.results import stable_part
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.training.prediction import load_segmenter, predict_scan
from simulations.federation import Federation, run_federation


def _run(
    folder: Path, cohort: list[Path], flat: dict[str, bool | int | float | str], **changes: object
) -> dict[str, object]:
    config = StudyConfig.from_flat({**flat, **changes})  # type: ignore[dict-item]
    federation = Federation(config=config, centre_folders=cohort, run_dir=folder, command="test")
    with (folder.parent / f"{folder.name}.log").open("w", encoding="utf-8") as log:
        return run_federation(federation, Console(file=log))


SEGMENTERS = ("segmenter", "segmenters/target-flair", "segmenters/target-t2w")


def _weights(run: Path) -> dict[str, list[float]]:
    """Every segmenter of a run, as numbers that can be compared."""
    return {
        f"{segmenter} {name}": tensor.flatten().tolist()
        for segmenter in SEGMENTERS
        for name, tensor in load_checkpoint(run / segmenter)[0].items()
    }


def test_every_target_ends_with_a_segmenter_of_its_own(finished: Path) -> None:
    common, flair, t2w = (load_checkpoint(finished / segmenter)[0] for segmenter in SEGMENTERS)
    for one, other in ((common, flair), (common, t2w), (flair, t2w)):
        assert any(not one[name].equal(other[name]) for name in one)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_cohort: list[Path], tiny_config: dict[str, bool | int | float | str]
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    _run(folder, tiny_cohort, tiny_config)
    return folder


def test_a_run_leaves_everything_a_user_is_promised(finished: Path) -> None:
    promised = ["study.json", "history.jsonl", "results.json", "report.html", "picture.png", "federation.html"]
    promised += [f"{segmenter}/manifest.json" for segmenter in SEGMENTERS]
    assert [name for name in promised if not (finished / name).is_file()] == []
    assert len(list(finished.glob("synthetic/*/synthetic*_0000.nii.gz"))) == 6  # three label maps in two looks


def test_every_row_is_scored_at_every_target(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert sorted(results["targets"]) == ["target-flair", "target-t2w"]
    for lines in results["targets"].values():
        assert list(lines) == ["source-only", "asc-plus", "recoloured", "diffuse-uda", "target-supervised"]
        assert all(0 <= line["dice"] <= 1 for line in lines.values())


def test_equal_seeds_give_equal_results_and_weights(
    finished: Path, tmp_path: Path, tiny_cohort: list[Path], tiny_config: dict[str, bool | int | float | str]
) -> None:
    again = tmp_path / "tiny"
    _run(again, tiny_cohort, tiny_config)
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (finished, again))
    assert stable_part(first) == stable_part(second)
    assert _weights(finished) == _weights(again)


def test_the_adapted_model_segments_a_scan_on_its_own_grid(
    finished: Path, tmp_path: Path, tiny_cohort: list[Path]
) -> None:
    scan = min((tiny_cohort[1] / "imagesTs").iterdir())
    written = predict_scan(load_segmenter(finished / "segmenters" / "target-flair"), scan, tmp_path)
    prediction, image = load_volume(written), load_volume(scan)
    assert prediction.shape == image.shape
    assert (prediction.affine_mm == image.affine_mm).all()


def test_no_case_name_and_no_label_map_reaches_the_servers_files(finished: Path) -> None:
    for name in ("study.json", "history.jsonl", "evaluation.json", "federation.html"):
        assert "case0" not in (finished / name).read_text()


def test_no_target_label_has_any_influence_on_the_model(
    finished: Path, tmp_path: Path, tiny_cohort: list[Path], tiny_config: dict[str, bool | int | float | str]
) -> None:
    blind = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in tiny_cohort]
    for target in blind[1:]:
        shutil.rmtree(target / "oracle")
        shutil.rmtree(target / "labelsTs")
    _run(tmp_path / "run", blind, tiny_config)
    assert _weights(finished) == _weights(tmp_path / "run")


def test_a_run_that_was_stopped_before_its_report_only_writes_that(
    finished: Path,
    tmp_path: Path,
    tiny_cohort: list[Path],
    tiny_config: dict[str, bool | int | float | str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = Path(shutil.copytree(finished, tmp_path / "tiny"))
    first = json.loads((again / "results.json").read_text())
    (again / "results.json").unlink()
    monkeypatch.setattr("simulations.federation.run_in_process", lambda *_, **__: pytest.fail("worked again"))
    _run(again, tiny_cohort, tiny_config)
    assert stable_part(json.loads((again / "results.json").read_text())) == stable_part(first)
