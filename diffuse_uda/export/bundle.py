"""The adapted model as a MONAI bundle: opened and run by MONAI alone, checked so before it is handed over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffuse_uda.data.volumes import Volume, load_volume, require_same_grid, save_volume
from diffuse_uda.errors import GeometryError, ReleaseError
from diffuse_uda.export.bundle_config import inference_config
from diffuse_uda.export.check_scan import check_scan
from diffuse_uda.export.network_definition import stock_weights
from diffuse_uda.models.segmenter import segmenter_architecture
from diffuse_uda.training.prediction import LoadedSegmenter, segment_volume

MAX_DIFFERENT_VOXELS = 0.002
"""Share of a scan's voxels whose class may differ: linear interpolation in two libraries can break a tie both ways."""
TIMEOUT_S = 1800.0
NEEDED = ("nibabel", "scikit-image", "scipy")
"""What MONAI leaves optional and the configuration uses."""

_ALONE = """
import sys
sys.modules["diffuse_uda"] = None  # whoever opens the bundle does not have it
from monai.bundle import run
root, scans, out = sys.argv[1:]
run(config_file=f"{root}/configs/inference.json", meta_file=f"{root}/configs/metadata.json", bundle_root=root,
    dataset_dir=scans, output_dir=out, device="$torch.device('cpu')")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleAgreement:
    """What MONAI alone made of the check scan, beside what this package makes of it."""

    num_voxels: int
    num_structure_voxels: int
    """Voxels of any structure, by this package."""
    num_different: int
    """Voxels of another class."""


def write_bundle(
    folder: Path, segmenter: LoadedSegmenter, facts: Mapping[str, Any], *, scratch: Path
) -> BundleAgreement:
    """Write `configs/`, `models/` and `docs/` of a bundle, and let MONAI run it in a process without this package.

    Args:
        folder: The bundle's root.
        segmenter: On the CPU.
        facts: For the metadata: `version`, `description`, `intended_use`, `license`, `authors`.
        scratch: Empty folder for the check scan and what is made of it.

    Raises:
        ReleaseError: If MONAI cannot run it, or too many voxels differ.
    """
    config = segmenter.config
    architecture = segmenter_architecture(config.segmenter, len(segmenter.label_names))
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    torch.save(stock_weights(architecture, segmenter.model.state_dict()), folder / "models" / "model.pt")
    _write_json(folder / "configs" / "inference.json", inference_config(architecture, config.grid))
    _write_json(folder / "configs" / "metadata.json", _metadata(segmenter, facts))
    return _compared(folder, segmenter, scratch)


def _compared(folder: Path, segmenter: LoadedSegmenter, scratch: Path) -> BundleAgreement:
    scans, out = scratch / "scans", scratch / "predictions"
    scans.mkdir(parents=True)
    scan = check_scan(segmenter.config.grid)
    save_volume(scans / "check.nii.gz", scan, dtype="int16")
    run_alone(folder, scans, out)
    ours = segment_volume(segmenter.network_alone(), scan)
    theirs = _written(out)
    try:
        require_same_grid(ours, theirs)
    except GeometryError as error:
        msg = f"the bundle, run by MONAI alone, puts its label map elsewhere: {error}. It is not released"
        raise ReleaseError(msg) from error
    agreement = BundleAgreement(
        num_voxels=ours.voxels.size,
        num_structure_voxels=int(np.count_nonzero(ours.voxels)),
        num_different=int(np.count_nonzero(ours.voxels != theirs.voxels)),
    )
    if agreement.num_different > MAX_DIFFERENT_VOXELS * agreement.num_voxels:
        msg = (
            f"the bundle, run by MONAI alone, gives {agreement.num_different} of {agreement.num_voxels} voxels of the "
            f"check scan another class; allowed {MAX_DIFFERENT_VOXELS:.1%}. It is not released: which version of MONAI "
            "is this?"
        )
        raise ReleaseError(msg)
    return agreement


def run_alone(bundle: Path, scans: Path, out: Path) -> None:
    """Run a bundle as a stranger would: another process, MONAI, and no way to import this package.

    Raises:
        ReleaseError: If it does not end well; the message has the last lines it said.
    """
    command = [sys.executable, "-I", "-c", _ALONE, *(str(path.resolve()) for path in (bundle, scans, out))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    if ended.returncode != 0:
        said = " | ".join(ended.stderr.strip().splitlines()[-3:])
        msg = f"the bundle does not run under MONAI {version('monai')} alone: {said}. It is not released"
        raise ReleaseError(msg)


def _written(out: Path) -> Volume:
    files = sorted(out.glob("*.nii.gz")) if out.is_dir() else []
    if len(files) != 1:
        msg = f"the bundle, run by MONAI alone, wrote {len(files)} label maps for one scan. It is not released"
        raise ReleaseError(msg)
    return load_volume(files[0])


def _metadata(segmenter: LoadedSegmenter, facts: Mapping[str, Any]) -> dict[str, Any]:
    classes: Sequence[str] = segmenter.label_names
    channels = {str(value): name for value, name in enumerate(classes)}
    shape = list(segmenter.config.grid.patch_size)
    return {
        "schema": (
            "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
        ),
        "version": facts["version"],
        "changelog": {str(facts["version"]): "as exported"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in NEEDED},
        "supported_apps": {},
        "name": "Federated Diffuse-UDA segmenter",
        "task": "segmentation of 3D scans of a site that has no labels",
        "description": facts["description"],
        "authors": facts["authors"],
        "copyright": facts["authors"],
        "license": facts["license"],
        "intended_use": facts["intended_use"],
        "references": ["arXiv:2310.14172", "arXiv:2408.05985"],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "as trained",
                    "num_channels": 1,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(classes),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": channels,
                }
            },
        },
    }


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
