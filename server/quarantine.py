"""Updates that were refused: kept apart on the disk for whoever has to find out what happened, never read by a run."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from diffuse_uda.data.atomic import replaced_atomically

logger = logging.getLogger(__name__)

QUARANTINE = "quarantine"
REASON_FILE = "reason.json"
WEIGHTS_FILE = "weights.safetensors"
KEPT_PER_SITE = 3
"""Refused updates kept for one site, so that one that sends nothing else cannot fill the disk."""


def put_aside(
    run_dir: Path, *, phase: str, server_round: int, site_id: str, reason: str, weights: Mapping[str, Tensor] | None
) -> Path | None:
    """Keep a refused update in `quarantine/<site>/<phase>-<round>`; the oldest ones of the site make room.

    A disk that is full must not end the round that has just survived a bad update, so it is only logged.

    Args:
        run_dir: Folder of the run.
        phase: Label of the phase.
        server_round: Round within it.
        site_id: Who sent it; a checked name (`require_membership`).
        reason: Why it was refused.
        weights: What it held; None where it could not be read.

    Returns:
        The folder, or None if it could not be written.
    """
    place = run_dir / QUARANTINE / site_id / f"{phase}-{server_round:04d}"
    try:
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        if weights is not None:
            save_file({name: weights[name].contiguous() for name in weights}, place / WEIGHTS_FILE)
        facts = {"site": site_id, "phase": phase, "server_round": server_round, "reason": reason}
        with replaced_atomically(place / REASON_FILE) as draft:
            draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        _make_room(place.parent)
    except (OSError, MemoryError, SafetensorError) as error:
        logger.warning("the refused update of %s is not kept: %s", site_id, error)
        shutil.rmtree(place, ignore_errors=True)
        return None
    return place


def _make_room(folder: Path) -> None:
    kept = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime_ns)
    for old in kept[:-KEPT_PER_SITE]:
        shutil.rmtree(old)
