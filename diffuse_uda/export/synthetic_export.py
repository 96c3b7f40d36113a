"""From a site's workspace to a data set of synthetic pairs."""

from __future__ import annotations

import re
from pathlib import Path

from diffuse_uda.config import ComputeConfig
from diffuse_uda.errors import ConfigError, ReleaseError
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.export.forms import DatasetForm
from diffuse_uda.export.release import released_folder
from diffuse_uda.export.synthetic_files import Origin, write_synthetic
from diffuse_uda.export.synthetic_pairs import Sifted, load_pairs, load_scans, sift_pairs
from diffuse_uda.training.checkpoints import checkpoint_sha256
from diffuse_uda.training.prediction import load_segmenter


def export_pairs(workspace: Path, out: Path, *, model: Path, form: DatasetForm, suffix: str = "image") -> Sifted:
    """Hand the pairs over that a site has rendered; everything is read from the site's own disk.

    Args:
        workspace: The site's private folder.
        out: A new folder.
        model: Segmenter of the same run, for the names of classes and the working grid.
        form: Layout of the data set.
        suffix: Of the images' names in BIDS.

    Returns:
        What was written, and what was dropped for which reason; nothing was written if every pair was dropped.

    Raises:
        ConfigError: If there are no pairs, no scans to compare them with, no model, or `out` is not new.
        ReleaseError: If no pair may be handed over, though none is a copy.
    """
    if not re.fullmatch(r"[A-Za-z0-9]{1,20}", suffix):
        msg = f"found the suffix {suffix!r}; wanted up to 20 letters and digits, such as T2w"
        raise ConfigError(msg)
    segmenter = load_segmenter(model, ComputeConfig(device="cpu"))
    spacing_mm = segmenter.config.grid.spacing_mm
    pairs, scans = load_pairs(workspace), load_scans(workspace, spacing_mm)
    sifted = sift_pairs(pairs, scans, num_classes=len(segmenter.label_names))
    if not sifted.kept and not sifted.num_copies:
        msg = f"none of {len(pairs)} pairs may be handed over: {sifted.dropped}. Nothing was written"
        raise ReleaseError(msg)
    if not sifted.kept:
        return sifted
    origin = Origin(
        spacing_mm=spacing_mm,
        label_names=segmenter.label_names,
        plan_sha256=plan_hash(segmenter.config),
        weights_sha256=checkpoint_sha256(model),
        suffix=suffix,
    )
    with released_folder(out) as draft:
        write_synthetic(draft, sifted, origin, form)
    return sifted
