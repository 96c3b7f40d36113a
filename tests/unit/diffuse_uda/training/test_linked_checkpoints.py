"""A checkpoint under a second name."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from diffuse_uda.errors import CheckpointError
from diffuse_uda.training.checkpoints import checkpoint_sha256, link_checkpoint, load_checkpoint, save_checkpoint


def _save(folder: Path, value: float) -> Path:
    return save_checkpoint(folder, {"w": torch.full((2,), value)}, {"value": value})


def test_a_linked_checkpoint_is_the_same_file_and_replaces_what_was_there(tmp_path: Path) -> None:
    first, second = _save(tmp_path / "1", 1.0), _save(tmp_path / "2", 2.0)
    for source, file in ((tmp_path / "1", first), (tmp_path / "2", second), (tmp_path / "2", second)):
        link_checkpoint(source, tmp_path / "latest")
        assert (tmp_path / "latest" / file.name).samefile(file)
        assert checkpoint_sha256(tmp_path / "latest") == checkpoint_sha256(source)
        assert len(list((tmp_path / "latest").iterdir())) == 2
    assert load_checkpoint(tmp_path / "latest")[1] == {"value": 2.0}
    _save(tmp_path / "latest", 3.0)
    assert load_checkpoint(tmp_path / "2")[1] == {"value": 2.0}


def test_where_files_have_one_name_only_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: object, _target: object) -> None:
        raise OSError(errno.EPERM, "x")

    monkeypatch.setattr(os, "link", refuse)
    file = _save(tmp_path / "1", 1.0)
    link_checkpoint(tmp_path / "1", tmp_path / "latest")
    assert not (tmp_path / "latest" / file.name).samefile(file)
    assert load_checkpoint(tmp_path / "latest")[1] == {"value": 1.0}


def test_tensors_come_back_in_the_order_in_which_they_were_saved(tmp_path: Path) -> None:
    names = ["z", "a", "m", "b"]
    save_checkpoint(tmp_path, {name: torch.zeros(index + 1) for index, name in enumerate(names)}, {})
    assert list(load_checkpoint(tmp_path)[0]) == names


def test_a_manifest_that_names_other_tensors_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, 1.0)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "names": ["v"]}))
    with pytest.raises(CheckpointError, match="does not hold the tensors that its manifest names: 'v'"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_a_missing_or_damaged_manifest_has_no_hash(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        checkpoint_sha256(tmp_path)
