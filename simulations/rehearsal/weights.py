"""Whether two runs ended with the same models, bit by bit."""

from __future__ import annotations

from pathlib import Path

import torch

from diffuse_uda.errors import CheckpointError
from diffuse_uda.training.checkpoints import MANIFEST, load_checkpoint


def differing_models(first: Path, second: Path) -> list[str]:
    """Compare all models of two finished runs.

    Args:
        first: A run's folder.
        second: Another's.

    Returns:
        Places, within the folders, of models that only one of them has or whose tensors differ in name, type, shape
        or any value.

    Raises:
        CheckpointError: If a folder holds no model, or a damaged one.
    """
    places = [{path.parent.relative_to(run) for path in run.rglob(MANIFEST)} for run in (first, second)]
    for run, found in zip((first, second), places, strict=True):
        if not found:
            msg = f"{run} holds no model; wanted a finished run"
            raise CheckpointError(msg)
    differing = places[0] ^ places[1]
    differing |= {place for place in places[0] & places[1] if not _same(first / place, second / place)}
    return sorted(str(place) for place in differing)


def _same(first: Path, second: Path) -> bool:
    ours, theirs = load_checkpoint(first)[0], load_checkpoint(second)[0]
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in ours
    )
