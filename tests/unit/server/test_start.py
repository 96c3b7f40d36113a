"""What the server keeps between two phases, and reads again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffuse_uda.errors import CheckpointError
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.types import ModelName
from server.start import BEGINNING, keep_starting_point, load_starting_point, restore_record


def _run(folder: Path, *models: str) -> Path:
    for number, model in enumerate(models):
        save_checkpoint(folder / "checkpoints" / "latest" / model, {"weight": torch.full((2,), float(number))}, {})
    (folder / "history.jsonl").write_text("one line\n")
    return folder


def test_models_mean_and_phase_come_back(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "segmenter", "denoiser", "denoiser-mean")
    keep_starting_point(run, tmp_path / "kept", "diffuse")
    start = load_starting_point(tmp_path / "kept")
    assert start.phase == "diffuse"
    assert {name: float(weights["weight"][0]) for name, weights in start.models.items()} == {
        ModelName.SEGMENTER: 0.0,
        ModelName.DENOISER: 1.0,
    }
    assert start.denoiser_mean is not None
    assert float(start.denoiser_mean["weight"][0]) == 2.0


def test_a_model_that_nobody_has_trained_is_missing(tmp_path: Path) -> None:
    keep_starting_point(_run(tmp_path / "run", "segmenter"), tmp_path / "kept", "warm-up")
    start = load_starting_point(tmp_path / "kept")
    assert list(start.models) == [ModelName.SEGMENTER]
    assert start.denoiser_mean is None
    assert (BEGINNING.phase, dict(BEGINNING.models)) == ("", {})


def test_the_record_moves_into_the_run_that_goes_on(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "segmenter")
    (run / "evaluation.json").write_text("{}")
    keep_starting_point(run, tmp_path / "kept", "warm-up")
    other = _run(tmp_path / "other", "segmenter", "denoiser")
    restore_record(tmp_path / "kept", other)
    assert not (other / "checkpoints" / "latest" / "denoiser").exists()
    assert (other / "evaluation.json").exists()
    with (other / "history.jsonl").open("a") as file:
        file.write("another\n")
    assert (tmp_path / "kept" / "history.jsonl").read_text() == "one line\n"


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_a_damaged_starting_point_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "start.json").write_text(content)
    with pytest.raises(CheckpointError, match="no usable starting point"):
        load_starting_point(tmp_path)


def test_segmenters_of_single_targets_come_back_by_domain(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "segmenter", "segmenter-2", "segmenter-10", "denoiser-mean")
    keep_starting_point(run, tmp_path / "kept", "refine-for-10")
    own = load_starting_point(tmp_path / "kept").own
    assert {domain: float(weights["weight"][0]) for domain, weights in own.items()} == {2: 1.0, 10: 2.0}
