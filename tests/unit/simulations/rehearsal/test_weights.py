"""Two runs are the same if every bit of every model is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffuse_uda.errors import CheckpointError
from diffuse_uda.training.checkpoints import save_checkpoint
from simulations.rehearsal.weights import differing_models


def _run(folder: Path, **models: torch.Tensor) -> Path:
    for name, weights in models.items():
        save_checkpoint(folder / "checkpoints" / name, {"w": weights}, {"folder": str(folder)})
    return folder


def test_one_bit_is_a_difference(tmp_path: Path) -> None:
    ones = torch.ones(3)
    first = _run(tmp_path / "a", segmenter=ones, denoiser=ones)
    assert differing_models(first, _run(tmp_path / "b", segmenter=ones, denoiser=ones)) == []
    nudged = torch.nextafter(ones, torch.tensor(2.0))
    assert differing_models(first, _run(tmp_path / "c", segmenter=ones, denoiser=nudged)) == ["checkpoints/denoiser"]


def test_a_missing_model_and_another_type_are_differences(tmp_path: Path) -> None:
    ones = torch.ones(3)
    first = _run(tmp_path / "a", segmenter=ones, denoiser=ones)
    assert differing_models(first, _run(tmp_path / "b", segmenter=ones)) == ["checkpoints/denoiser"]
    other = _run(tmp_path / "c", segmenter=ones, denoiser=ones.double())
    assert differing_models(first, other) == ["checkpoints/denoiser"]


def test_two_empty_folders_are_no_success(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no model; wanted a finished run"):
        differing_models(tmp_path / "a", tmp_path / "b")
