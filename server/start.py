"""Where a run may begin other than at its first round: what the server had after a phase of an earlier run.

The sites' own part (teacher, optimiser, pseudo-labels, pairs) is theirs; whoever keeps a starting point keeps both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.links import link_tree
from diffuse_uda.errors import CheckpointError
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.types import ModelName, StateDict
from server.history import HISTORY_FILE
from server.run_folder import CHECKPOINTS, DENOISER_MEAN, EVALUATION_FILE, LATEST, ROUNDS

START_FILE = "start.json"

OWN_SEGMENTER = f"{ModelName.SEGMENTER.value}-"
"""Beginning of the names of single targets' segmenters (`Phase.checkpoint`); their domain follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartingPoint:
    """What the server holds between two phases."""

    phase: str
    """Label of the last phase that is done; empty before the first one."""
    number: int = 0
    """Number of the last round that is done, where a run is resumed amid a phase; `phase` is empty then."""
    models: Mapping[ModelName, StateDict]
    """Raw averages; a model that no phase has trained yet is missing."""
    denoiser_mean: StateDict | None
    own: Mapping[int, StateDict] = field(default_factory=dict)
    """Segmenters of single targets, by domain."""


BEGINNING = StartingPoint(phase="", models={}, denoiser_mean=None)
"""Nothing is done yet."""


def keep_starting_point(run_dir: Path, folder: Path, phase: str) -> None:
    """Keep what a later run needs to go on after `phase`, which has just ended in `run_dir`.

    Args:
        run_dir: A run's folder. Its checkpoints get a second name, its record is copied.
        folder: Made; must not hold a starting point yet.
        phase: Label of the phase.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _carry_over(run_dir, folder)
    with replaced_atomically(folder / START_FILE) as draft:
        draft.write_text(json.dumps({"phase": phase}) + "\n", encoding="utf-8")


def restore_record(folder: Path, run_dir: Path) -> None:
    """Put checkpoints, history and scores of a starting point into the folder of a run that goes on from it."""
    shutil.rmtree(run_dir / CHECKPOINTS, ignore_errors=True)
    _carry_over(folder, run_dir)


def load_starting_point(folder: Path) -> StartingPoint:
    """Read a starting point.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    try:
        phase = str(json.loads((folder / START_FILE).read_text(encoding="utf-8"))["phase"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"no usable starting point in {folder}: {type(error).__name__}: {error}; wanted {START_FILE} with a phase"
        raise CheckpointError(msg) from error
    latest = folder / CHECKPOINTS / LATEST
    saved = {path.name: load_checkpoint(path)[0] for path in sorted(latest.glob("*")) if path.is_dir()}
    return starting_point_of(saved, phase=phase)


def starting_point_of(saved: Mapping[str, StateDict], *, phase: str = "", number: int = 0) -> StartingPoint:
    """Sort models by what they are.

    Args:
        saved: By the names of their checkpoints.
        phase: Label of the last phase that is done.
        number: Or number of the last round that is done.
    """
    return StartingPoint(
        phase=phase,
        number=number,
        models={name: saved[name.value] for name in ModelName if name.value in saved},
        denoiser_mean=saved.get(DENOISER_MEAN),
        own={
            int(name.removeprefix(OWN_SEGMENTER)): weights
            for name, weights in saved.items()
            if name.startswith(OWN_SEGMENTER)
        },
    )


def _carry_over(source: Path, target: Path) -> None:
    if (source / CHECKPOINTS).is_dir():
        link_tree(source / CHECKPOINTS, target / CHECKPOINTS, without=[ROUNDS])
    for name in (HISTORY_FILE, EVALUATION_FILE):  # the history grows: a link would let it grow in both places
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
