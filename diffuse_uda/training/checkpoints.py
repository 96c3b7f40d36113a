"""Weights on disk: safetensors beside a SHA-256 manifest, replaced as one, refused when damaged.

safetensors alone loads a flipped bit silently, so nothing is read that does not match its manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from diffuse_uda.data.atomic import flush_to_disk, make_folder, replaced_atomically
from diffuse_uda.data.links import link_file
from diffuse_uda.errors import CheckpointError
from diffuse_uda.types import StateDict

MANIFEST = "manifest.json"


def save_checkpoint(folder: Path, weights: StateDict, metadata: Mapping[str, Any]) -> Path:
    """Write weights and what they belong to; the manifest last, so that it never names a file that is not there.

    Args:
        folder: Made if missing. Weights go to `<first 16 digits of their SHA-256>.safetensors`, so an older checkpoint
            stays whole until the manifest points to the new one.
        weights: Named tensors.
        metadata: JSON-ready facts, such as configuration and round.

    Returns:
        The file with the weights.
    """
    make_folder(folder)
    payload = safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in weights.items()})
    digest = hashlib.sha256(payload).hexdigest()
    file = folder / f"{digest[:16]}.safetensors"
    with replaced_atomically(file) as draft:
        draft.write_bytes(payload)
    manifest = {
        "file": file.name,
        "sha256": digest,
        "bytes": len(payload),
        "names": list(weights),
        "metadata": dict(metadata),
    }
    with replaced_atomically(folder / MANIFEST) as draft:
        draft.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _leave_only(file)
    return file


def link_checkpoint(source: Path, folder: Path) -> None:
    """Make `folder` hold the checkpoint of `source`, without a second copy; the manifest comes last here too.

    Args:
        source: Folder of a checkpoint.
        folder: Made if missing; the checkpoint in it, if any, stays whole until the new one is.
    """
    make_folder(folder)
    file = folder / Path(json.loads((source / MANIFEST).read_text(encoding="utf-8"))["file"]).name
    for place in (file, folder / MANIFEST):
        draft = place.with_name(f".part-{place.name}")
        draft.unlink(missing_ok=True)
        link_file(source / place.name, draft)
        if draft.stat().st_nlink == 1:  # a copy, not yet on the disk
            flush_to_disk(draft)
        draft.replace(place)
        draft.unlink(missing_ok=True)  # two names of one file: the system leaves both as they are
    flush_to_disk(folder)
    _leave_only(file)


def checkpoint_sha256(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, as its manifest says; `load_checkpoint` looks whether that is true.

    Raises:
        CheckpointError: If there is no manifest that can be read.
    """
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"no usable checkpoint in {folder}: {type(error).__name__}: {error}; wanted {MANIFEST}"
        raise CheckpointError(msg) from error


def load_checkpoint(folder: Path) -> tuple[StateDict, dict[str, Any]]:
    """Read weights and metadata back, the tensors in the order in which they were saved (safetensors has its own).

    Raises:
        CheckpointError: If the manifest or the weights are missing, damaged, or do not belong together.
    """
    manifest_file = folder / MANIFEST
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        file = folder / Path(manifest["file"]).name
        payload = file.read_bytes()
        metadata = dict(manifest["metadata"])
        wanted = manifest["sha256"]
        names = list(manifest.get("names", ()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"no usable checkpoint in {folder}: {type(error).__name__}: {error}; wanted {MANIFEST} and its weights"
        raise CheckpointError(msg) from error
    found = hashlib.sha256(payload).hexdigest()
    if found != wanted:
        msg = (
            f"{file} is damaged: SHA-256 is {found[:16]}..., the manifest says {wanted[:16]}...; restore it from a copy"
        )
        raise CheckpointError(msg)
    try:
        weights = safetensors.torch.load(payload)
        return {name: weights[name] for name in names or weights}, metadata
    except SafetensorError as error:
        msg = f"{file} holds no safetensors: {error}"
        raise CheckpointError(msg) from error
    except KeyError as error:
        msg = f"{file} does not hold the tensors that its manifest names: {error}"
        raise CheckpointError(msg) from error


def _leave_only(file: Path) -> None:
    for old in file.parent.glob("*.safetensors"):
        if old != file:
            old.unlink()


def load_weights_(model: torch.nn.Module, weights: StateDict) -> None:
    """Put weights into a model, strictly.

    Raises:
        CheckpointError: If names or shapes differ; each difference is named (the first few of them).
    """
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} is unknown" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the model wants {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if weights[name].shape != expected[name].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5])
        msg = f"{len(problems)} tensors do not fit {type(model).__name__}: {shown}; is the configuration another one?"
        raise CheckpointError(msg)
    model.load_state_dict(weights)
