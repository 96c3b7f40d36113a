"""Synthetic pairs as data sets that other tools open, marked as synthetic in every place where somebody may look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.export.forms import DatasetForm
from diffuse_uda.export.synthetic_pairs import Sifted, SyntheticPair
from diffuse_uda.types import Spacing

REMARK = "SYNTHETIC: rendered by a diffusion model (Diffuse-UDA); nobody was scanned"
"""Fits `descrip`."""
BIDS_VERSION = "1.10.0"
_ORIGIN = (
    "Images were rendered by a generator trained on scans of this site and of others in a federation. Label maps are "
    "deformed label maps, or pseudo-labels, of scans of this site."
)
_PRIVACY = "Pairs like a scan of this site were left out. That is an alarm for copies, not a proof of anonymity."


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What is told of where pairs come from."""

    spacing_mm: Spacing
    label_names: Sequence[str]
    plan_sha256: str
    weights_sha256: str
    """Of the segmenter of the same run."""
    suffix: str = "image"
    """Suffix of the images' names in BIDS; `T2w`, `FLAIR`, ... where the look is one."""


def write_synthetic(folder: Path, sifted: Sifted, origin: Origin, form: DatasetForm) -> None:
    """Write a data set of pairs.

    Args:
        folder: Empty; from `released_folder`.
        sifted: From `sift_pairs`.
        origin: What is told about them.
        form: nnU-Net v2 (`dataset.json`, `imagesTr`, `labelsTr`, sidecars in `sidecars`), or a BIDS derivative
            (`dataset_description.json`, `sub-*/anat`, sidecars beside the images).
    """
    writers = {DatasetForm.NNUNET: _write_nnunet, DatasetForm.BIDS: _write_bids}
    writers[form](folder, sifted, origin)


def _write_nnunet(folder: Path, sifted: Sifted, origin: Origin) -> None:
    for name in ("imagesTr", "labelsTr", "sidecars"):
        (folder / name).mkdir()
    for number, pair in enumerate(sifted.kept, start=1):
        name = f"synthetic_{number:05d}"
        _save(folder / "imagesTr" / f"{name}_0000.nii.gz", folder / "labelsTr" / f"{name}.nii.gz", pair, origin)
        _write_json(folder / "sidecars" / f"{name}.json", _sidecar(pair))
    description = {
        "channel_names": {"0": "synthetic"},
        "labels": {name: value for value, name in enumerate(origin.label_names)},
        "numTraining": len(sifted.kept),
        "file_ending": ".nii.gz",
        "name": "Synthetic pairs",
        "description": f"{REMARK}. {_ORIGIN} {_PRIVACY}",
        "licence": "TO BE FILLED IN",
        "synthetic": True,
        **_counts(sifted, origin),
    }
    _write_json(folder / "dataset.json", description)


def _write_bids(folder: Path, sifted: Sifted, origin: Origin) -> None:
    for number, pair in enumerate(sifted.kept, start=1):
        subject = f"sub-synthetic{number:05d}"
        place = folder / subject / "anat"
        place.mkdir(parents=True)
        image = place / f"{subject}_desc-synthetic_{origin.suffix}"
        label_map = place / f"{subject}_desc-synthetic_dseg"
        _save(image.with_name(f"{image.name}.nii.gz"), label_map.with_name(f"{label_map.name}.nii.gz"), pair, origin)
        for one in (image, label_map):
            _write_json(one.with_name(f"{one.name}.json"), _sidecar(pair))
    rows = ["index\tname", *(f"{value}\t{name}" for value, name in enumerate(origin.label_names))]
    (folder / "desc-synthetic_dseg.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    description = {
        "Name": "Synthetic pairs",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "TO BE FILLED IN",
        "GeneratedBy": [
            {"Name": "diffuse-uda export-synthetic", "Version": version("diffuse-uda"), "Description": REMARK}
        ],
        "Synthetic": True,
        "Description": f"{_ORIGIN} {_PRIVACY}",
        **_counts(sifted, origin),
    }
    _write_json(folder / "dataset_description.json", description)
    (folder / "README").write_text(f"{REMARK}.\n\n{_ORIGIN}\n\n{_PRIVACY}\n", encoding="utf-8")


def _save(image: Path, label_map: Path, pair: SyntheticPair, origin: Origin) -> None:
    """Both files on one grid whose middle is the origin: a place in nobody."""
    affine_mm = np.diag([*origin.spacing_mm, 1.0])
    affine_mm[:3, 3] = -(np.asarray(pair.image.shape) - 1) / 2 * np.asarray(origin.spacing_mm)
    save_volume(image, Volume(voxels=pair.image, affine_mm=affine_mm), dtype="float32", remark=REMARK)
    save_volume(label_map, Volume(voxels=pair.label_map, affine_mm=affine_mm), dtype="uint8", remark=REMARK)


def _sidecar(pair: SyntheticPair) -> dict[str, Any]:
    return {"Synthetic": True, "Description": REMARK, "Look": pair.look, "Units": "arbitrary, 0 to 1; air is 0"}


def _counts(sifted: Sifted, origin: Origin) -> dict[str, Any]:
    """Numbers alone; no pair can be traced to the scan it was near to."""
    return {
        "DroppedPairs": dict(sifted.dropped),
        "LargestCorrelationWithAScan": round(sifted.nearest, 3),
        "PlanSHA256": origin.plan_sha256,
        "SegmenterSHA256": origin.weights_sha256,
    }


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
