"""What can be rehearsed, and with which scans."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from simulations.rehearsal.plan import Rehearsal


def test_every_site_has_three_scans(tmp_path: Path) -> None:
    scans = Rehearsal(folder=tmp_path / "new", num_targets=4).write_scans()
    assert list(scans) == ["source", "target-1", "target-2", "target-3", "target-4"]
    assert {len(list(folder.glob("images*/*"))) for folder in scans.values()} == {3}


def test_changes_come_last(tmp_path: Path) -> None:
    plan = Rehearsal(folder=tmp_path, seed=7, changes={"method": "asc", "adapt.num-rounds": 3})
    config = StudyConfig.from_flat(plan.study)
    assert (config.seed, config.method, config.adapt.num_rounds) == (7, "asc", 3)
    assert config.compute.num_threads == 1


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(ConfigError, match="is not empty; wanted a new folder"):
        Rehearsal(folder=tmp_path)


def test_nonsense_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found 0 targets; wanted at least 1"):
        Rehearsal(folder=tmp_path, num_targets=0)
    with pytest.raises(ConfigError, match=r"adapt\.num-round'"):
        Rehearsal(folder=tmp_path, changes={"adapt.num-round": 3})
