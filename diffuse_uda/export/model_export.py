"""An adapted segmenter in the forms that others open, each measured against the original, with a card beside them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffuse_uda.config import ComputeConfig
from diffuse_uda.export.bundle import write_bundle
from diffuse_uda.export.forms import ModelForm
from diffuse_uda.export.model_card import INTENDED_USE, TO_FILL, model_card
from diffuse_uda.export.model_card_text import CARD_JSON, CARD_MARKDOWN, card_text
from diffuse_uda.export.onnx_model import write_onnx
from diffuse_uda.export.plain_weights import write_plain_weights
from diffuse_uda.export.release import released_folder
from diffuse_uda.export.run_facts import find_segmenter, read_run
from diffuse_uda.models.segmenter import segmenter_architecture
from diffuse_uda.training.checkpoints import checkpoint_sha256
from diffuse_uda.training.prediction import load_segmenter

BUNDLE, ONNX_FILE = "bundle", "model.onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """What only the owner of a model can say."""

    licence: str | None = None
    labelled_by: str | None = None


def export_model(
    path: Path,
    out: Path,
    *,
    forms: Collection[ModelForm],
    made_at: datetime,
    site: str | None = None,
    owner: Owner | None = None,
) -> dict[str, Any]:
    """Hand an adapted segmenter over.

    Args:
        path: Folder of a run, or of a segmenter.
        out: A new folder: `bundle/`, `model.safetensors` and `architecture.json`, `model.onnx`, and the card.
        forms: Which of them.
        made_at: Date and time of the export.
        site: Whose segmenter of a run.
        owner: What goes into the card's open fields.

    Returns:
        The card.

    Raises:
        ConfigError: If there is no such segmenter, or `out` is not new.
        CheckpointError: If the segmenter is damaged.
        ReleaseError: If one of the forms does not say what the model says; nothing is left of any of them.
    """
    said = owner or Owner()
    folder, run = find_segmenter(path, site)
    segmenter = load_segmenter(folder, ComputeConfig(device="cpu"))
    facts = read_run(run, folder)
    grid = segmenter.config.grid
    architecture = segmenter_architecture(segmenter.config.segmenter, len(segmenter.label_names))
    checks: dict[str, Any] = {}
    with released_folder(out) as draft:
        if ModelForm.SAFETENSORS in forms:
            names = {"label_names": list(segmenter.label_names)}
            largest = write_plain_weights(draft, segmenter.model, architecture, grid, names)
            checks[ModelForm.SAFETENSORS.value] = {"largest_logit_difference": largest}
        if ModelForm.ONNX in forms:
            largest = write_onnx(draft / ONNX_FILE, segmenter.model, grid)
            checks[ModelForm.ONNX.value] = {"largest_logit_difference": largest}
        if ModelForm.BUNDLE in forms:
            about = {
                "version": version("diffuse-uda"),
                "description": f"Adapted with {segmenter.config.method} to sites without labels; see docs/README.md",
                "authors": TO_FILL,
                "license": said.licence or TO_FILL,
                "intended_use": INTENDED_USE,
            }
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=".check-") as scratch:
                agreement = write_bundle(draft / BUNDLE, segmenter, about, scratch=Path(scratch))
            checks[ModelForm.BUNDLE.value] = asdict(agreement)
        card = model_card(
            segmenter,
            facts,
            weights_sha256=checkpoint_sha256(folder),
            made_at=made_at,
            checks=checks,
            licence=said.licence,
            labelled_by=said.labelled_by,
        )
        (draft / CARD_JSON).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (draft / CARD_MARKDOWN).write_text(card_text(card), encoding="utf-8")
        if ModelForm.BUNDLE in forms:
            (draft / BUNDLE / "docs").mkdir()
            (draft / BUNDLE / "docs" / "README.md").write_text(card_text(card), encoding="utf-8")
    return card
