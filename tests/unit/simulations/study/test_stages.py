"""A stage is whole or not there, and a run that goes on from it leaves it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.training.checkpoints import save_checkpoint
from server.history import RoundSaved, StudyStarted
from simulations.study.keeper import StageKeeper
from simulations.study.stages import StageStore


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that has just ended a phase: models, a line of history, a site's private file."""
    folder = tmp_path / "run"
    state = folder / "sites" / "leeds" / "state"
    state.mkdir(parents=True)
    (state / "teacher").write_text("old")
    (folder / "sites" / "leeds" / "signing-key.pem").write_text("of the first run")
    (folder / "history.jsonl").write_text("first\n")
    save_checkpoint(folder / "checkpoints" / "latest" / "segmenter", {"weight": torch.ones(2)}, {})
    return folder


def test_a_restored_site_may_change_and_the_stage_does_not(tmp_path: Path, run_dir: Path) -> None:
    store = StageStore(folder=tmp_path / "stages")
    assert "key" not in store
    store.keep("key", run_dir, "warm-up")
    assert "key" in store
    # A log that grows, or a key, must not be in two runs.
    assert [path.name for path in (tmp_path / "stages" / "key" / "sites" / "leeds").iterdir()] == ["state"]
    other = tmp_path / "other"
    (other / "sites" / "leeds" / "state").mkdir(parents=True)
    (other / "sites" / "leeds" / "state" / "left-over").write_text("of the introduction")
    (other / "sites" / "leeds" / "signing-key.pem").write_text("of this run")
    store.restore_sites("key", other, "abc")
    assert (other / "sites" / "leeds" / "signing-key.pem").read_text() == "of this run"
    assert (other / "sites" / "leeds" / "commits" / "abc" / "000000" / "teacher").read_text() == "old"
    state = other / "sites" / "leeds" / "state"
    assert [path.name for path in state.iterdir()] == ["teacher"]
    with replaced_atomically(state / "teacher") as draft:
        draft.write_text("new")
    assert (tmp_path / "stages" / "key" / "sites" / "leeds" / "state" / "teacher").read_text() == "old"
    assert (run_dir / "sites" / "leeds" / "state" / "teacher").read_text() == "old"


def test_the_history_goes_on_in_the_run_alone(tmp_path: Path, run_dir: Path) -> None:
    store = StageStore(folder=tmp_path / "stages")
    store.keep("key", run_dir, "warm-up")
    with (run_dir / "history.jsonl").open("a") as file:
        file.write("second\n")
    assert (store.server_part("key") / "history.jsonl").read_text() == "first\n"


def test_a_stage_that_is_there_stays_and_the_last_known_one_counts(tmp_path: Path, run_dir: Path) -> None:
    store = StageStore(folder=tmp_path / "stages")
    store.keep("one", run_dir, "warm-up")
    (run_dir / "sites" / "leeds" / "state" / "more").write_text("")
    store.keep("one", run_dir, "warm-up")
    assert not (tmp_path / "stages" / "one" / "sites" / "leeds" / "state" / "more").exists()
    store.keep("two", run_dir, "adapt")
    assert store.last_known(["zero", "one", "two", "three"]) == "two"
    assert store.last_known(["zero"]) is None
    store.clear()
    assert store.last_known(["one"]) is None


def test_half_a_stage_is_none(tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_paths: Path) -> None:
        raise OSError

    monkeypatch.setattr("simulations.study.stages.link_tree", full)
    store = StageStore(folder=tmp_path / "stages")
    with pytest.raises(OSError):  # noqa: PT011 - the disk is full
        store.keep("key", run_dir, "warm-up")
    assert "key" not in store


def test_the_keeper_keeps_every_second_round_the_last_one_and_every_stage(tmp_path: Path, run_dir: Path) -> None:
    heard: list[object] = []
    keeper = StageKeeper(
        run_dir=run_dir,
        store=StageStore(folder=tmp_path / "stages"),
        stages={"warm-up": "w", "adapt": "a"},
        start=None,
        scored_phases=frozenset({"adapt"}),
        tell=heard.append,
    )
    keeper(StudyStarted(name="s", method="asc", site_ids=("leeds",), num_rounds=4))
    keeper(RoundSaved(phase="warm-up", server_round=1, checkpoint="segmenter", num_rounds=1))
    for number in (1, 2, 3):
        keeper(RoundSaved(phase="adapt", server_round=number, checkpoint="segmenter", num_rounds=3))
    assert sorted(path.name for path in (run_dir / "rounds" / "adapt").iterdir()) == ["2", "3"]
    assert not (run_dir / "rounds" / "warm-up").exists()
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == ["a", "w"]
    assert (tmp_path / "stages" / "a" / "rounds" / "adapt" / "3").is_dir()
    assert len(heard) == 5
