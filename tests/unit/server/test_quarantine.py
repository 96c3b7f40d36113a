"""What was refused is kept apart, for people, and never more of it than a disk can take."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from server import quarantine
from server.quarantine import KEPT_PER_SITE, put_aside

WEIGHTS = {"w": torch.tensor([float("nan"), 1.0]), "half": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(3)}


def _put(folder: Path, server_round: int = 1, **changed: object) -> Path | None:
    facts = {"phase": "adapt", "site_id": "leeds", "reason": "tensor 'w' holds NaN", "weights": WEIGHTS, **changed}
    return put_aside(folder, server_round=server_round, **facts)  # type: ignore[arg-type]


def test_weights_and_reason_are_kept_as_they_came(tmp_path: Path) -> None:
    place = _put(tmp_path)
    assert place == tmp_path / "quarantine" / "leeds" / "adapt-0001"
    assert json.loads((place / "reason.json").read_text()) == {
        "site": "leeds",
        "phase": "adapt",
        "server_round": 1,
        "reason": "tensor 'w' holds NaN",
    }
    kept = load_file(place / "weights.safetensors")
    assert {name: tensor.dtype for name, tensor in kept.items()} == {
        name: tensor.dtype for name, tensor in WEIGHTS.items()
    }
    assert kept["w"].isnan().tolist() == [True, False]


def test_what_could_not_be_read_leaves_its_reason(tmp_path: Path) -> None:
    place = _put(tmp_path, weights=None)
    assert place is not None
    assert [path.name for path in place.iterdir()] == ["reason.json"]


def test_the_newest_of_a_site_are_kept_and_a_repeated_round_counts_once(tmp_path: Path) -> None:
    for server_round in (1, 2, 3, 4, 5, 5):
        place = _put(tmp_path, server_round)
        assert place is not None
        os.utime(place, ns=(server_round, server_round))
    _put(tmp_path, 1, site_id="york")
    assert sorted(path.name for path in (tmp_path / "quarantine" / "leeds").iterdir()) == [
        f"adapt-{server_round:04d}" for server_round in (3, 4, 5)
    ]
    assert KEPT_PER_SITE == 3
    assert len(list((tmp_path / "quarantine" / "york").iterdir())) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_disk_or_a_memory_that_is_full_does_not_end_the_round(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(quarantine, "save_file", full)
    with caplog.at_level(logging.WARNING):
        assert _put(tmp_path) is None
    assert "the refused update of leeds is not kept" in caplog.text
    assert list((tmp_path / "quarantine" / "leeds").iterdir()) == []
