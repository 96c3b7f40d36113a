"""A run-config holds a study and a few options of the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.run_options import RunOptions, read_run_config


def test_the_run_folder_follows_the_study_s_name() -> None:
    config, options = read_run_config({"name": "pilot"})
    assert config.name == "pilot"
    assert options == RunOptions(run_dir=Path("runs/pilot"))


def test_options_are_split_off_before_the_study_is_read() -> None:
    config, options = read_run_config(
        {
            "method": "asc",
            "run-dir": "elsewhere",
            "simulation.sites-file": "sites.json",
            "simulation.prepare-sites": "a.b:c",
            "start-from": "kept",
            "resume": False,
        }
    )
    assert config.method == "asc"
    assert options == RunOptions(
        run_dir=Path("elsewhere"),
        sites_file=Path("sites.json"),
        prepare_sites="a.b:c",
        start_from=Path("kept"),
        resume=False,
    )


def test_an_empty_text_leaves_a_key_to_the_preset() -> None:
    declared = dict.fromkeys(StudyConfig().to_flat(), "")
    config, options = read_run_config({**declared, "preset": "paper", "run-dir": "", "adapt.num-rounds": 7})
    assert config.grid.patch_size == (128, 128, 128)
    assert config.adapt.num_rounds == 7
    assert options.run_dir == Path("runs/study")


def test_whether_to_resume_is_a_yes_or_no() -> None:
    with pytest.raises(ConfigError, match=r"resume: found .never.; wanted true or false"):
        read_run_config({"resume": "never"})


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'adapt\.num-rounds'"):
        read_run_config({"adapt.num-round": 7})
