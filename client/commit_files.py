"""One commit of a site on the disk: second names of its state, the reply it gave, and hashes of both."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from client.site_state import CASES
from diffuse_uda.data.atomic import flush_to_disk, make_folder
from diffuse_uda.data.links import link_file
from diffuse_uda.data.storage import written_patiently
from diffuse_uda.errors import CheckpointError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.landmarks import Landmark, passing

REPLY = "reply.safetensors"
"""Weights of the reply, in a commit whose reply has some."""
STORAGE_PATIENCE_S = 60.0

_COMMIT = "commit.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """What a commit says about itself, once that is checked."""

    folder: Path
    order: str
    """SHA-256 of the order; empty for what a run began with."""
    files: Mapping[str, str]
    """SHA-256 of every file of the state, and of the reply's model, by name."""
    reply: Mapping[str, Any] | None
    """Count, scalars and names of tensors; None for what a run began with."""


def write_commit(place: Path, state: Path, *, order: str, reply: SiteReply | None) -> None:
    """Write down what a site is after a round; the commit is there as a whole or not at all.

    Args:
        place: Its folder, which must not exist.
        state: The working folder.
        order: SHA-256 of the order that was carried out; empty for what a run begins with.
        reply: What it was answered with; None for what a run begins with.

    Raises:
        StorageError: If the disk does not take it in time.
    """
    folder = place.parent
    weights = None if reply is None else reply.weights

    def write() -> None:
        draft = folder / f".part-{place.name}"
        for leftover in (draft, place):  # of an attempt before this one
            shutil.rmtree(leftover, ignore_errors=True)
        make_folder(folder)
        draft.mkdir()
        for path in state.iterdir():
            if not path.name.startswith((CASES, ".part-")):
                link_file(path, draft / path.name)
        if weights is not None:
            _put(draft / REPLY, safetensors.torch.save({name: one.contiguous() for name, one in weights.items()}))
        passing(Landmark.MID_SITE_COMMIT)
        content = {
            "order": order,
            "files": {path.name: _sha256(path) for path in sorted(draft.iterdir())},
            "reply": None if reply is None else _without_values(reply),
        }
        _put(draft / _COMMIT, json.dumps({"content": content, "sha256": _hash_of(content)}).encode())
        flush_to_disk(draft)
        draft.rename(place)
        flush_to_disk(folder)

    needed_bytes = sum(one.numel() * one.element_size() for one in (weights or {}).values())
    written_patiently(write, place, needed_bytes=needed_bytes, patience_s=STORAGE_PATIENCE_S)


def read_commit(folder: Path) -> Commit:
    """Read what a commit says.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    file = folder / _COMMIT
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        content = said["content"]
        if said["sha256"] != _hash_of(content):
            msg = f"{file} is damaged: it does not fit its own SHA-256"
            raise CheckpointError(msg)
        return Commit(folder=folder, order=content["order"], files=content["files"], reply=content["reply"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{file} cannot be read: {type(error).__name__}: {error}"
        raise CheckpointError(msg) from error


def restore_state(state: Path, commit: Commit) -> None:
    """Make the working folder what it was, but for prepared cases, which belong to no round."""
    files = [name for name in commit.files if name != REPLY]
    for name in files:
        _require_whole(commit, name)
    state.mkdir(parents=True, exist_ok=True)
    for path in state.iterdir():
        if not path.name.startswith(CASES):
            path.unlink()
    for name in files:
        link_file(commit.folder / name, state / name)


def reply_of(commit: Commit) -> SiteReply | None:
    """The reply of a commit, as it was; None for what a run began with.

    Raises:
        CheckpointError: If its weights are missing or damaged.
    """
    if commit.reply is None:
        return None
    names = commit.reply["weights"]
    weights = None
    if names is not None:
        _require_whole(commit, REPLY)
        weights = safetensors.torch.load((commit.folder / REPLY).read_bytes())
    return SiteReply(
        num_examples=commit.reply["num_examples"],
        metrics=commit.reply["metrics"],
        # The order of names is part of the message; safetensors has its own.
        weights=None if weights is None else {name: weights[name] for name in names},
    )


def _put(path: Path, payload: bytes) -> None:
    """Write a file of a draft: its name means nothing before the draft's own does."""
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _without_values(reply: SiteReply) -> dict[str, Any]:
    return {
        "num_examples": reply.num_examples,
        "metrics": dict(reply.metrics),
        "weights": None if reply.weights is None else list(reply.weights),
    }


def _require_whole(commit: Commit, name: str) -> None:
    """Look whether a file of a commit is what it was.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    file = commit.folder / name
    try:
        found = _sha256(file)
    except OSError as error:
        msg = f"{file} cannot be read: {type(error).__name__}: {error}"
        raise CheckpointError(msg) from error
    if found != (wanted := commit.files[name]):
        msg = f"{file} is damaged: SHA-256 is {found[:16]}..., its commit says {wanted[:16]}...; restore it from a copy"
        raise CheckpointError(msg)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
