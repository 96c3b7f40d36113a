"""Weights on disk: what comes back is what was saved, or an error that says why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.errors import CheckpointError
from diffuse_uda.training.checkpoints import MANIFEST, load_checkpoint, load_weights_, save_checkpoint

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}
NEWER = {"a.weight": torch.ones(2, 3), "a.count": torch.tensor(4)}


def test_weights_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "made" / "here", WEIGHTS, {"round": 3, "names": ["a", "b"]})
    weights, metadata = load_checkpoint(tmp_path / "made" / "here")
    assert file.name == json.loads((file.parent / MANIFEST).read_text())["sha256"][:16] + ".safetensors"
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert weights["a.count"].dtype == torch.int64
    assert metadata == {"round": 3, "names": ["a", "b"]}


def test_weights_in_the_gpus_layout_are_saved_too(tmp_path: Path) -> None:
    weight = torch.randn(2, 3, 4, 4, 4).to(memory_format=torch.channels_last_3d)
    save_checkpoint(tmp_path, {"conv": weight}, {})
    assert torch.equal(load_checkpoint(tmp_path)[0]["conv"], weight)


def test_only_the_newest_weights_stay(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, WEIGHTS, {"round": 1})
    file = save_checkpoint(tmp_path, NEWER, {"round": 2})
    assert sorted(tmp_path.iterdir()) == sorted([file, tmp_path / MANIFEST])
    weights, metadata = load_checkpoint(tmp_path)
    assert torch.equal(weights["a.weight"], NEWER["a.weight"])
    assert metadata == {"round": 2}


def test_saving_the_same_weights_again_keeps_them(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, WEIGHTS, {"round": 1})
    save_checkpoint(tmp_path, WEIGHTS, {"round": 2})
    weights, metadata = load_checkpoint(tmp_path)
    assert torch.equal(weights["a.weight"], WEIGHTS["a.weight"])
    assert metadata == {"round": 2}


@pytest.mark.parametrize("position", [8, 100, -1])
def test_one_flipped_bit_is_refused(tmp_path: Path, position: int) -> None:
    file = save_checkpoint(tmp_path, WEIGHTS, {})
    payload = bytearray(file.read_bytes())
    payload[position] ^= 1
    file.write_bytes(payload)
    with pytest.raises(CheckpointError, match=r"is damaged: SHA-256 is .*, the manifest says .*; restore it"):
        load_checkpoint(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path, WEIGHTS, {})
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("lost", [MANIFEST, "*.safetensors"])
def test_a_missing_file_is_refused(tmp_path: Path, lost: str) -> None:
    save_checkpoint(tmp_path, WEIGHTS, {})
    next(tmp_path.glob(lost)).unlink()
    with pytest.raises(CheckpointError, match=r"no usable checkpoint in .*FileNotFoundError"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", '{"file": 3}', '{"file": ""}', "\udcff"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: str) -> None:
    save_checkpoint(tmp_path, WEIGHTS, {})
    (tmp_path / MANIFEST).write_bytes(manifest.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="no usable checkpoint in "):
        load_checkpoint(tmp_path)


def test_a_manifest_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    file = save_checkpoint(inside, WEIGHTS, {})
    manifest = json.loads((inside / MANIFEST).read_text())
    (inside / MANIFEST).write_text(json.dumps(manifest | {"file": f"../{file.name}"}))
    file.rename(tmp_path / file.name)
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        load_checkpoint(inside)


def test_bytes_that_match_the_manifest_and_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    content = b"weights of another kind"
    digest = "5a1b2b6d4a7bf7ebb8b5cf4b1e3e3c4f"
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    manifest: dict[str, Any] = {"file": file.name, "sha256": digest, "metadata": {}}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)
    manifest["sha256"] = _sha256(content)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"x.safetensors holds no safetensors"):
        load_checkpoint(tmp_path)


def _sha256(content: bytes) -> str:
    import hashlib  # noqa: PLC0415 - the one place that needs it

    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("broken", [".safetensors", MANIFEST])
def test_the_old_checkpoint_stays_whole_when_writing_the_new_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    save_checkpoint(tmp_path, WEIGHTS, {"round": 1})

    @contextmanager
    def full_disk(path: Path) -> Iterator[Path]:
        with replaced_atomically(path) as draft:
            yield draft
            if path.name.endswith(broken):
                raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffuse_uda.training.checkpoints.replaced_atomically", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, NEWER, {"round": 2})
    weights, metadata = load_checkpoint(tmp_path)
    assert torch.equal(weights["a.weight"], WEIGHTS["a.weight"])
    assert metadata == {"round": 1}
    assert not list(tmp_path.glob(".part-*"))


def test_weights_go_into_the_model_they_were_made_for() -> None:
    model, weights = nn.Linear(2, 1), {"weight": torch.tensor([[5.0, 6.0]]), "bias": torch.tensor([7.0])}
    load_weights_(model, weights)
    assert model(torch.tensor([[1.0, 1.0]])).item() == 18.0


def test_missing_unknown_and_misshapen_tensors_are_all_named() -> None:
    weights = {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}
    with pytest.raises(CheckpointError) as error:
        load_weights_(nn.Linear(2, 1), weights)
    for part in (
        "3 tensors do not fit Linear",
        "bias is missing",
        "scale is unknown",
        "weight is (3, 2), the model wants (1, 2)",
    ):
        assert part in str(error.value)


def test_of_many_misfits_the_first_five_are_shown_and_all_are_counted() -> None:
    with pytest.raises(CheckpointError, match="9 tensors do not fit") as error:
        load_weights_(nn.Linear(2, 1), {f"layer{n}": torch.zeros(1) for n in range(7)})
    assert str(error.value).count(" is ") == 5 + 1  # five tensors and the question at the end


def test_a_refused_load_leaves_the_model_as_it_was() -> None:
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    with pytest.raises(CheckpointError):
        load_weights_(model, {"weight": torch.ones(1, 2)})
    assert torch.equal(model.weight, before)
