"""What the server leaves behind: `federation.json`, `history.jsonl`, `evaluation.json` and checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.methods.phase import Exchange
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.types import ModelName, StateDict
from server.accepted import ACCEPTED_FILE
from server.history import HISTORY_FILE, RoundRecord
from server.journal import JOURNAL_FILE
from server.quarantine import QUARANTINE
from server.workflow import Step

FEDERATION_FILE = "federation.json"
EVALUATION_FILE = "evaluation.json"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
ROUNDS = "rounds"
"""Folder of the checkpoints that a run goes on from, within `checkpoints`."""
SEGMENTER = "segmenter"
"""Folder of the segmenter that all sites share: `diffuse-uda predict` takes it."""
SEGMENTERS = "segmenters"
"""Holds a folder for every target that got a segmenter of its own, named as the site."""
DENOISER_MEAN = "denoiser-mean"
"""Checkpoint of the denoiser's running mean over rounds, beside the raw average `denoiser`."""


def open_run_folder(run_dir: Path, config: StudyConfig, sites: Sequence[SiteCard]) -> None:
    """Make the folder of a run and write down the study and who takes part; an earlier run's record is replaced."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in (JOURNAL_FILE, HISTORY_FILE, EVALUATION_FILE, ACCEPTED_FILE):
        (run_dir / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, SEGMENTER, SEGMENTERS, QUARANTINE):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    study = {
        "config": config.to_flat(),
        "label_names": sites[0].label_names,
        "sites": [
            {
                "site_id": card.site_id,
                "role": card.role.value,
                "num_cases": card.num_cases,
                "num_test_cases": card.num_test_cases,
            }
            for card in sites
        ],
    }
    _write_json(run_dir / FEDERATION_FILE, study)


def changed_models(step: Step, weights: StateDict, denoiser_mean: StateDict | None) -> dict[str, StateDict]:
    """What a round has changed, by the names of the checkpoints.

    Args:
        step: The round.
        weights: The model that the phase trains, as the round has left it.
        denoiser_mean: Running mean of the denoiser, once there is one.
    """
    if step.phase.exchange is Exchange.NOTHING:
        return {}
    changed = {step.phase.checkpoint: weights}
    if step.phase.model is ModelName.DENOISER and denoiser_mean is not None:
        changed[DENOISER_MEAN] = denoiser_mean
    return changed


def save_segmenters(
    run_dir: Path, common: StateDict, own: Mapping[str, StateDict], metadata: Mapping[str, Any]
) -> None:
    """Save the adapted segmenters in places of their own, once the study is done.

    Args:
        run_dir: The run's folder.
        common: The segmenter that all sites share.
        own: Segmenters of single targets, by site id.
        metadata: Facts for the manifest.
    """
    save_checkpoint(run_dir / SEGMENTER, common, {**metadata, "model": ModelName.SEGMENTER.value})
    for site_id, weights in own.items():
        facts = {**metadata, "model": ModelName.SEGMENTER.value, "site": site_id}
        save_checkpoint(run_dir / SEGMENTERS / site_id, weights, facts)


def save_scores(run_dir: Path, record: RoundRecord) -> None:
    """Add an evaluation's scores to `evaluation.json`: row, then site, then the scalars its policy let out."""
    if not record.row:
        return
    path = run_dir / EVALUATION_FILE
    scores = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    scores[record.row] = {
        site_id: {"state": site.state.value, "num_examples": site.num_examples, **site.metrics}
        for site_id, site in record.sites.items()
    }
    _write_json(path, scores)


def _write_json(path: Path, content: object) -> None:
    with replaced_atomically(path) as draft:
        draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
