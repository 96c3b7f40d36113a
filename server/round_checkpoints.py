"""All models of the coordinator after a round, in one folder a round; the last two that changed something are kept.

`checkpoints/rounds/<number>/<model>` is what a run goes on from. `checkpoints/latest` and `checkpoints/<phase>` are
second names of the same files, for people and programs that want a model; they follow after the journal has the round.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import flush_to_disk, make_folder
from diffuse_uda.data.links import link_tree
from diffuse_uda.data.storage import written_patiently
from diffuse_uda.errors import CheckpointError
from diffuse_uda.landmarks import Landmark, passing
from diffuse_uda.training.checkpoints import checkpoint_sha256, link_checkpoint, load_checkpoint, save_checkpoint
from diffuse_uda.types import StateDict
from server.run_folder import CHECKPOINTS, LATEST, ROUNDS


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundCheckpoint:
    """Which files a committed round stands on."""

    number: int = 0
    """Round that wrote the folder: the last one that changed a model; 0 if none has yet."""
    models: Mapping[str, str]
    """SHA-256 of every model by its name; models that no round has trained yet are missing."""


NOTHING_TRAINED = RoundCheckpoint(models={})
"""What a run begins with: its first weights follow from the seed."""


def write_round_checkpoint(
    run_dir: Path,
    number: int,
    changed: Mapping[str, StateDict],
    facts: Mapping[str, Any],
    before: RoundCheckpoint,
    *,
    patience_s: float,
) -> RoundCheckpoint:
    """Write what a round has changed, beside second names of what it has not.

    Args:
        run_dir: The run's folder.
        number: Of the round, within the run.
        changed: Models that the round has changed, by name; if there are none, nothing is written.
        facts: For the manifests.
        before: What the round before stands on.
        patience_s: Seconds to wait for a disk that is full or ill.

    Raises:
        StorageError: If the disk does not take it in time; everything before this round is as it was.
    """
    if not changed:
        return before
    size = sum(tensor.numel() * tensor.element_size() for model in changed.values() for tensor in model.values())
    folder = _folder(run_dir, number)
    draft = folder.with_name(f".part-{folder.name}")

    def write() -> None:
        for leftover in (draft, folder):  # of a round that was not committed
            shutil.rmtree(leftover, ignore_errors=True)
        make_folder(folder.parent)
        draft.mkdir()
        for name in before.models.keys() - changed.keys():
            link_tree(_folder(run_dir, before.number) / name, draft / name)
            flush_to_disk(draft / name)
        for name, weights in changed.items():
            save_checkpoint(draft / name, weights, {**facts, "model": name})
            passing(Landmark.MID_CHECKPOINT)
        flush_to_disk(draft)
        draft.rename(folder)
        flush_to_disk(folder.parent)

    written_patiently(write, folder, needed_bytes=size, patience_s=patience_s)
    models = {name: checkpoint_sha256(folder / name) for name in sorted(before.models.keys() | changed.keys())}
    return RoundCheckpoint(number=number, models=models)


def load_round_checkpoint(run_dir: Path, checkpoint: RoundCheckpoint) -> dict[str, StateDict]:
    """Read every model of a checkpoint.

    Raises:
        CheckpointError: If one is missing, damaged, or not the one that the journal names.
    """
    models = {}
    for name, wanted in checkpoint.models.items():
        folder = _folder(run_dir, checkpoint.number) / name
        if (found := checkpoint_sha256(folder)) != wanted:
            msg = f"{folder} holds weights of SHA-256 {found[:16]}..., the journal names {wanted[:16]}..."
            raise CheckpointError(msg)
        models[name], _ = load_checkpoint(folder)
    return models


def show_models(run_dir: Path, checkpoint: RoundCheckpoint, place: str, names: Collection[str]) -> None:
    """Give models of a checkpoint second names in a folder beside `rounds`, such as `latest`; others there stay."""
    for name in names:
        link_checkpoint(_folder(run_dir, checkpoint.number) / name, run_dir / CHECKPOINTS / place / name)


def keep_only(run_dir: Path, numbers: Collection[int]) -> None:
    """Delete the checkpoints of all other rounds, and what was never finished."""
    kept = {_folder(run_dir, number).name for number in numbers}
    folder = run_dir / CHECKPOINTS / ROUNDS
    for found in folder.iterdir() if folder.is_dir() else ():
        if found.name not in kept:
            shutil.rmtree(found)


def show_latest_only(run_dir: Path, checkpoint: RoundCheckpoint) -> None:
    """Make `latest` hold the models of a checkpoint and no others."""
    latest = run_dir / CHECKPOINTS / LATEST
    show_models(run_dir, checkpoint, LATEST, checkpoint.models)
    for found in latest.iterdir() if latest.is_dir() else ():
        if found.name not in checkpoint.models:
            shutil.rmtree(found)


def _folder(run_dir: Path, number: int) -> Path:
    return run_dir / CHECKPOINTS / ROUNDS / f"{number:06d}"
