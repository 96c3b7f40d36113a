"""The smallest federation that has every part of a real one."""

import dataclasses
from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from simulations.phantom.centres import SOURCE_T1W, TARGET_FLAIR, TARGET_T2W
from simulations.phantom.cohort import write_cohort

TINY: dict[str, bool | int | float | str] = {
    "name": "tiny",
    "grid.patch-size": "[16, 16, 16]",
    "grid.spacing-mm": "[12.0, 12.0, 12.0]",
    "segmenter.channels": "[4, 8]",
    "denoiser.channels": "[8, 16]",
    "denoiser.attention-levels": "[false, false]",
    "denoiser.num-groups": 4,
    "diffusion.num-inference-steps": 2,
    "warm-up.num-rounds": 1,
    "warm-up.num-local-steps": 3,
    "adapt.num-rounds": 2,
    "adapt.num-local-steps": 2,
    "recolour.num-turns": 1,
    "recolour.num-rounds": 1,
    "recolour.num-local-steps": 2,
    "diffuse.num-rounds": 2,
    "diffuse.num-local-steps": 2,
    "refine.num-rounds": 2,
    "refine.num-local-steps": 2,
    "compute.num-threads": 1,
    "compute.device": "cpu",
}


@pytest.fixture(scope="session")
def tiny_config() -> dict[str, bool | int | float | str]:
    """Flat keys of a study that takes seconds."""
    StudyConfig.from_flat(TINY)
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A source and two targets with three scans each, sixteen voxels wide."""
    small = [
        dataclasses.replace(centre, num_train=3, num_test=3, num_development=0)
        for centre in (SOURCE_T1W, TARGET_T2W, TARGET_FLAIR)
    ]
    folder = tmp_path_factory.mktemp("cohort") / "tiny"
    return write_cohort(folder, seed=3, centres=small, shape=(16, 16, 16), spacing_mm=(12.0, 12.0, 12.0))
