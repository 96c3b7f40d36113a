"""A cohort small enough for unit tests."""

import dataclasses
from pathlib import Path

import pytest

from simulations.phantom.centres import SOURCE_T1W, TARGET_FLAIR, TARGET_T2W
from simulations.phantom.cohort import write_cohort


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A source and two targets with two scans each, sixteen voxels wide."""
    small = [
        dataclasses.replace(centre, num_train=2, num_test=1, num_development=0)
        for centre in (SOURCE_T1W, TARGET_T2W, TARGET_FLAIR)
    ]
    folder = tmp_path_factory.mktemp("cohort") / "small"
    return write_cohort(folder, seed=1, centres=small, shape=(16, 16, 16), spacing_mm=(12.0, 12.0, 12.0))
