"""Which centres a study is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffuse_uda.errors import ConfigError
from simulations.study import cohorts
from simulations.study.cohorts import study_folders


@pytest.fixture
def brain4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "brain4"
    for name in ("source_ixi_t1", "target_flair_real", "target_pdw", "target_t1_real", "target_t2w"):
        (folder / name).mkdir(parents=True)
    choices = {name: (folder, targets) for name, (_, targets) in cohorts.KNOWN.items()}
    monkeypatch.setattr(cohorts, "KNOWN", choices)
    return folder


def _names(folders: list[Path]) -> list[str]:
    return [folder.name for folder in folders]


@pytest.mark.usefixtures("brain4")
def test_a_known_name_stands_for_folders_that_show_different_people() -> None:
    assert _names(study_folders("brain4", None, ())) == ["source_ixi_t1", "target_t2w", "target_flair_real"]
    assert _names(study_folders("brain4-pdw-t1", None, ())) == ["source_ixi_t1", "target_pdw", "target_t1_real"]
    assert _names(study_folders("brain4", None, ["target_pdw"])) == ["source_ixi_t1", "target_pdw"]


def test_a_folder_may_be_named(brain4: Path) -> None:
    assert _names(study_folders("mine", brain4, ["target_pdw"])) == ["source_ixi_t1", "target_pdw"]
    assert _names(study_folders("brain4-pdw-t1", brain4, ()))[1:] == ["target_pdw", "target_t1_real"]


def test_an_unknown_name_without_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="study 'mine' has no data of its own; name a folder with --data"):
        study_folders("mine", None, ())


def test_the_procedural_cohort_is_the_same_for_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int]] = []

    def pretend(folder: Path, *, seed: int, **_options: object) -> list[Path]:
        asked.append((folder, seed))
        return []

    monkeypatch.setattr(cohorts, "write_cohort", pretend)
    study_folders("phantom", None, ())
    assert asked == [(Path("cohorts/phantom-0"), 0)]
