"""What a command does with a folder in which an earlier run was interrupted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.run_lock import LOCK_FILE, run_lock
from diffuse_uda.errors import CheckpointError, ConfigError, InUseError
from server.journal import JOURNAL_FILE, Happening, Journal
from server.resume import describe_sites, describe_study
from simulations.federation import awaits_outcome, prepare_run_dir, spelt
from tests.fake_federation import SOURCE, TARGET_A


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that has begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "study.json").write_text("{}")
    (folder / "sites").mkdir()
    description = {**describe_study(StudyConfig(), None), **describe_sites((SOURCE, TARGET_A))}
    Journal(folder / JOURNAL_FILE).append(Happening.STARTED, {"run": "abc", "description": description})
    return folder


def test_an_interrupted_run_is_left_as_it_is_to_go_on(run_dir: Path) -> None:
    before = {path: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    assert prepare_run_dir(run_dir, [])
    assert {path: path.read_bytes() for path in before} == before


def test_it_is_replaced_when_that_is_asked_for(run_dir: Path) -> None:
    assert not prepare_run_dir(run_dir, [], is_fresh=True)
    assert [path.name for path in run_dir.iterdir()] == [LOCK_FILE]


def test_a_finished_run_is_replaced(run_dir: Path) -> None:
    Journal(run_dir / JOURNAL_FILE).append(Happening.FINISHED, {})
    (run_dir / "link").symlink_to(run_dir.parent)
    assert not prepare_run_dir(run_dir, [])
    assert [path.name for path in run_dir.iterdir()] == [LOCK_FILE]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="nobody's files are deleted"):
        prepare_run_dir(tmp_path, [], is_fresh=True)


def test_a_damaged_journal_is_no_reason_to_delete_a_run(run_dir: Path) -> None:
    Journal(run_dir / JOURNAL_FILE).append(Happening.FINISHED, {})
    journal = run_dir / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes().replace(b'"run":"abc"', b'"run":"abd"'))
    with pytest.raises(CheckpointError, match="line 1 of 2"):
        prepare_run_dir(run_dir, [])
    assert journal.exists()


def test_the_folder_of_a_run_at_work_is_not_emptied_under_its_feet(run_dir: Path) -> None:
    with run_lock(run_dir):
        told: list[str] = []

        def come_second() -> None:
            with pytest.raises(InUseError) as refused:
                prepare_run_dir(run_dir, [], is_fresh=True)
            told.append(str(refused.value))

        thread = threading.Thread(target=come_second)
        thread.start()
        thread.join()
    assert "is in use by process" in told[0]
    assert (run_dir / JOURNAL_FILE).exists()


def test_a_run_without_its_report_only_wants_that(run_dir: Path) -> None:
    config = StudyConfig()
    (run_dir / "study.json").write_text(spelt(config))
    assert not awaits_outcome(run_dir, config)
    Journal(run_dir / JOURNAL_FILE).append(Happening.FINISHED, {})
    assert awaits_outcome(run_dir, config)
    assert not awaits_outcome(run_dir, config.model_copy(update={"seed": 1}))
    (run_dir / "results.json").write_text("{}")
    assert not awaits_outcome(run_dir, config)
    assert not awaits_outcome(run_dir.parent, config)
