"""A site of two scans of sixteen voxels, and orders for it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from client.site import Site, open_site
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.methods.phase import Task
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName, Scalar, StateDict
from simulations.phantom.centres import SOURCE_T1W, TARGET_T2W
from simulations.phantom.cohort import write_cohort

LABEL_NAMES = ("background", "cortical_gm", "white_matter", "ventricles", "deep_gm", "cerebellum", "brainstem")

FLAT: dict[str, Scalar] = {
    "grid.patch-size": "[16, 16, 16]",
    "grid.spacing-mm": "[12.0, 12.0, 12.0]",
    "segmenter.channels": "[4, 8]",
    "denoiser.channels": "[8, 16]",
    "denoiser.attention-levels": "[false, false]",
    "denoiser.num-groups": 4,
    "diffusion.num-inference-steps": 2,
    "warm-up.num-local-steps": 2,
    "adapt.num-local-steps": 2,
    "adapt.target-step-fraction": 1.0,
    "recolour.num-local-steps": 2,
    "diffuse.num-local-steps": 2,
    "refine.num-local-steps": 2,
    "compute.num-threads": 1,
    "compute.device": "cpu",
}


def tiny_cohort(folder: Path) -> list[Path]:
    """Folders of a source and a target, two training scans and one test scan each."""
    small = [
        dataclasses.replace(centre, num_train=2, num_test=1, num_development=0) for centre in (SOURCE_T1W, TARGET_T2W)
    ]
    return write_cohort(folder, seed=1, centres=small, shape=(16, 16, 16), spacing_mm=(12.0, 12.0, 12.0))


def tiny_site(folder: Path, role: str, workspace: Path) -> Site:
    """The site of a folder; what it keeps goes to `workspace / role`."""
    return open_site({"site-id": role, "role": role, "data-dir": str(folder), "workspace": str(workspace / role)})


def tiny_config(changes: Mapping[str, Scalar] | None = None) -> StudyConfig:
    """A study of networks and rounds as small as they go."""
    return StudyConfig.from_flat({**FLAT, **(changes or {})})


def order_for(task: Task, phase: str = "adapt", server_round: int = 1) -> WorkOrder:
    """Order for one of two rounds."""
    return WorkOrder(
        task=task,
        phase=phase,
        server_round=server_round,
        num_rounds=2,
        pass_index=0,
        row="asc-plus",
        domains=("source", "target"),
        label_names=LABEL_NAMES,
    )


def first_weights(config: StudyConfig, name: ModelName = ModelName.SEGMENTER) -> StateDict:
    """What the server sends first."""
    return initial_weights(config, name, len(LABEL_NAMES))
