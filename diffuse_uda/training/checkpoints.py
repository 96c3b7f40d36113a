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

from diffuse_uda.data.atomic import replaced_atomically
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
    folder.mkdir(parents=True, exist_ok=True)
    payload = safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in weights.items()})
    digest = hashlib.sha256(payload).hexdigest()
    file = folder / f"{digest[:16]}.safetensors"
    with replaced_atomically(file) as draft:
        draft.write_bytes(payload)
    manifest = {"file": file.name, "sha256": digest, "bytes": len(payload), "metadata": dict(metadata)}
    with replaced_atomically(folder / MANIFEST) as draft:
        draft.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for old in folder.glob("*.safetensors"):
        if old != file:
            old.unlink()
    return file


def load_checkpoint(folder: Path) -> tuple[StateDict, dict[str, Any]]:
    """Read weights and metadata back.

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
        return safetensors.torch.load(payload), metadata
    except SafetensorError as error:
        msg = f"{file} holds no safetensors: {error}"
        raise CheckpointError(msg) from error


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
