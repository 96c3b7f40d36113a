"""All models after a round, in one folder a round."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
import torch

from diffuse_uda.errors import CheckpointError, StorageError
from diffuse_uda.training.checkpoints import load_checkpoint
from server.round_checkpoints import (
    NOTHING_TRAINED,
    RoundCheckpoint,
    keep_only,
    load_round_checkpoint,
    show_latest_only,
    show_models,
    write_round_checkpoint,
)
from tests.crashes import in_child


def _model(value: float, size: int = 2) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((size,), value)}


def _write(folder: Path, number: int, before: RoundCheckpoint, **changed: float) -> RoundCheckpoint:
    models = {name: _model(value) for name, value in changed.items()}
    return write_round_checkpoint(folder, number, models, {"phase": "adapt"}, before, patience_s=0.0)


def _values(folder: Path, checkpoint: RoundCheckpoint) -> dict[str, float]:
    return {name: float(model["weight"][0]) for name, model in load_round_checkpoint(folder, checkpoint).items()}


def test_a_checkpoint_holds_what_a_round_has_changed_and_what_it_has_not(tmp_path: Path) -> None:
    first = _write(tmp_path, 3, NOTHING_TRAINED, segmenter=1.0)
    second = _write(tmp_path, 7, first, denoiser=2.0)
    third = _write(tmp_path, 8, second, segmenter=3.0)
    assert (first.number, second.number, third.number) == (3, 7, 8)
    assert _values(tmp_path, first) == {"segmenter": 1.0}
    assert _values(tmp_path, second) == {"denoiser": 2.0, "segmenter": 1.0}
    assert _values(tmp_path, third) == {"denoiser": 2.0, "segmenter": 3.0}
    assert second.models["segmenter"] == first.models["segmenter"]
    assert not list(tmp_path.rglob(".part-*"))


def test_a_round_that_changes_nothing_stands_on_the_checkpoint_before(tmp_path: Path) -> None:
    first = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0)
    assert _write(tmp_path, 2, first) is first


def test_what_an_uncommitted_round_has_left_is_replaced(tmp_path: Path) -> None:
    first = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0)
    _write(tmp_path, 2, first, segmenter=99.0, denoiser=99.0)
    assert _values(tmp_path, _write(tmp_path, 2, first, segmenter=2.0)) == {"segmenter": 2.0}


@pytest.mark.fault("R-18")
def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0)
    (file,) = tmp_path.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_round_checkpoint(tmp_path, checkpoint)


def test_another_whole_checkpoint_in_its_place_is_found(tmp_path: Path) -> None:
    checkpoint = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0)
    _write(tmp_path, 1, NOTHING_TRAINED, segmenter=2.0)
    with pytest.raises(CheckpointError, match="the journal names"):
        load_round_checkpoint(tmp_path, checkpoint)


def test_only_the_named_checkpoints_stay(tmp_path: Path) -> None:
    keep_only(tmp_path, [1])
    last = NOTHING_TRAINED
    for number in (1, 2, 3):
        last = _write(tmp_path, number, last, segmenter=float(number))
    (tmp_path / "checkpoints" / "rounds" / ".part-000004").mkdir()
    keep_only(tmp_path, [2, 3])
    assert sorted(path.name for path in (tmp_path / "checkpoints" / "rounds").iterdir()) == ["000002", "000003"]


def test_latest_and_phases_are_second_names_of_the_same_files(tmp_path: Path) -> None:
    first = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0, denoiser=2.0)
    show_latest_only(tmp_path, first)
    show_models(tmp_path, first, "adapt", ["segmenter"])
    checkpoints = tmp_path / "checkpoints"
    assert sorted(path.name for path in (checkpoints / "latest").iterdir()) == ["denoiser", "segmenter"]
    assert sorted(path.name for path in (checkpoints / "adapt").iterdir()) == ["segmenter"]
    weights, facts = load_checkpoint(checkpoints / "adapt" / "segmenter")
    assert float(weights["weight"][0]) == 1.0
    assert facts == {"phase": "adapt", "model": "segmenter"}
    inodes = {path.stat().st_ino for path in checkpoints.rglob("segmenter/*.safetensors")}
    assert len(inodes) == 1
    # A run that went back shows what it went back to, and nothing of later models.
    show_latest_only(tmp_path, _write(tmp_path, 2, NOTHING_TRAINED, segmenter=5.0))
    assert sorted(path.name for path in (checkpoints / "latest").iterdir()) == ["segmenter"]
    assert float(load_checkpoint(checkpoints / "latest" / "segmenter")[0]["weight"][0]) == 5.0
    assert float(load_checkpoint(checkpoints / "adapt" / "segmenter")[0]["weight"][0]) == 1.0


@pytest.mark.fault("R-04")
def test_a_disk_that_is_full_at_any_byte_leaves_the_checkpoint_before_whole(tmp_path: Path) -> None:
    before = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0)
    size = (next(tmp_path.rglob("*.safetensors"))).stat().st_size

    def with_room_for(num_bytes: int) -> None:
        # The kernel refuses every byte beyond this limit, whoever writes it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
        with pytest.raises(StorageError, match=r"cannot write .*000002: File too large; .* MB free in .* MB needed"):
            _write(tmp_path, 2, before, segmenter=2.0)

    for num_bytes in (0, 1, 8, size - 1):
        assert in_child(lambda room=num_bytes: with_room_for(room)) == 0  # type: ignore[misc]
        assert not (tmp_path / "checkpoints" / "rounds" / "000002").exists()
        assert _values(tmp_path, before) == {"segmenter": 1.0}
    assert _values(tmp_path, _write(tmp_path, 2, before, segmenter=2.0)) == {"segmenter": 2.0}


@pytest.mark.fault("R-05")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    before = _write(tmp_path, 1, NOTHING_TRAINED, segmenter=1.0)
    folder = tmp_path / "checkpoints" / "rounds"

    def as_somebody_else() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)  # root writes everywhere
        with pytest.raises(StorageError, match=r"cannot write .*000002: Permission denied"):
            _write(tmp_path, 2, before, segmenter=2.0)

    closed = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode for path in (folder, *closed)}
    try:
        for parent in closed:
            parent.chmod(0o755)
        folder.chmod(0o555)
        assert in_child(as_somebody_else) == 0
    finally:
        for parent, mode in modes.items():
            parent.chmod(mode & 0o7777)
    assert _values(tmp_path, before) == {"segmenter": 1.0}
