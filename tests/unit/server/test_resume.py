"""Where an interrupted run goes on, and when it does not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffuse_uda.config import AdaptConfig, FederationConfig, StudyConfig
from diffuse_uda.errors import CheckpointError, ConfigError
from diffuse_uda.exchange.envelopes import MOST_FALL_BACKS
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.types import ModelName
from server.history import RoundRecord, SiteRecord, SiteState
from server.journal import JOURNAL_FILE, Happening, Journal
from server.resume import (
    Commit,
    Unfinished,
    commit_facts,
    describe_sites,
    describe_study,
    find_resumption,
    kept_numbers,
    last_used,
    require_same_run,
    restore_views,
    unfinished_run,
)
from server.round_checkpoints import NOTHING_TRAINED, RoundCheckpoint, write_round_checkpoint
from tests.fake_federation import SOURCE, TARGET_A, TARGET_B

SITES = (SOURCE, TARGET_A, TARGET_B)
CONFIG = StudyConfig()


def _record(number: int, *, row: str = "", **states: SiteState) -> RoundRecord:
    return RoundRecord(
        phase="evaluate-asc" if row else "adapt",
        row=row,
        model=ModelName.SEGMENTER,
        server_round=number,
        num_rounds=9,
        num_tensors=1,
        sites={
            name.replace("_", "-"): SiteRecord(state=state, seconds=0.1 + 0.2, metrics={"dice": 1 / 3})
            for name, state in states.items()
        },
        seconds=1.5,
        seconds_at_work=0.1,
    )


class Begun:
    """A run folder with a journal, one commit after another."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.last = run_dir, NOTHING_TRAINED
        self.journal = Journal(run_dir / JOURNAL_FILE)
        description = {**describe_study(CONFIG, None), **describe_sites(SITES)}
        self.journal.append(Happening.STARTED, {"run": "abc", "description": description})

    def commit(self, number: int, record: RoundRecord | None = None, **changed: float) -> RoundCheckpoint:
        models = {name.replace("_", "-"): {"w": torch.full((2,), value)} for name, value in changed.items()}
        self.last = write_round_checkpoint(self.run_dir, number, models, {}, self.last, patience_s=0.0)
        record = record or _record(number, source=SiteState.USED)
        commit = Commit(
            number=number, ends_phase=number == 9, changed=tuple(models), checkpoint=self.last, record=record
        )
        self.journal.append(Happening.COMMITTED, commit_facts(commit, asdict(record)))
        return self.last

    @property
    def found(self) -> Unfinished:
        found = unfinished_run(self.run_dir)
        assert found is not None
        return found


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return Begun(tmp_path)


def _flip_a_bit(run_dir: Path, number: int) -> None:
    (file,) = (run_dir / "checkpoints" / "rounds" / f"{number:06d}" / "segmenter").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_folder_without_a_journal_or_with_a_finished_run_has_nothing_to_go_on_with(begun: Begun) -> None:
    assert unfinished_run(begun.run_dir / "elsewhere") is None
    begun.journal.append(Happening.FINISHED, {})
    assert unfinished_run(begun.run_dir) is None


def test_a_run_that_committed_nothing_begins_at_its_beginning_under_its_name(begun: Begun) -> None:
    assert begun.found.run == "abc"
    resumption = find_resumption(begun.run_dir, begun.found)
    assert (resumption.start.number, dict(resumption.start.models)) == (0, {})
    assert resumption.checkpoint == NOTHING_TRAINED


def test_everything_comes_back_from_the_last_commit(begun: Begun) -> None:
    begun.commit(1, segmenter=1.0)
    begun.commit(2, denoiser=2.0, denoiser_mean=2.5)
    begun.commit(3, segmenter_2=3.0)
    begun.commit(4, _record(4, row="asc", source=SiteState.USED))  # an evaluation changes no model
    resumption = find_resumption(begun.run_dir, begun.found)
    start = resumption.start
    assert start.number == 4
    assert {name.value: float(model["w"][0]) for name, model in start.models.items()} == {
        "segmenter": 1.0,
        "denoiser": 2.0,
    }
    assert start.denoiser_mean is not None
    assert float(start.denoiser_mean["w"][0]) == 2.5
    assert {domain: float(model["w"][0]) for domain, model in start.own.items()} == {2: 3.0}
    assert resumption.commits[0].record == _record(1, source=SiteState.USED)


def test_a_damaged_newest_checkpoint_means_the_one_before_and_a_word(
    begun: Begun, caplog: pytest.LogCaptureFixture
) -> None:
    begun.commit(1, segmenter=1.0)
    begun.commit(2, segmenter=2.0)
    begun.commit(3)  # stands on the same damaged models
    _flip_a_bit(begun.run_dir, 2)
    resumption = find_resumption(begun.run_dir, begun.found)
    assert resumption.start.number == 1
    assert float(resumption.start.models[ModelName.SEGMENTER]["w"][0]) == 1.0
    assert len(resumption.damaged) == 1
    assert "is damaged" in caplog.text
    assert "going back to the round before" in caplog.text


def test_a_run_that_went_back_does_not_count_what_it_left(begun: Begun) -> None:
    begun.commit(1, segmenter=1.0)
    begun.commit(2, segmenter=2.0)
    begun.journal.append(Happening.RESUMED, {"number": 1, "damaged": ["x"]})
    assert [commit.number for commit in begun.found.commits] == [1]
    begun.commit(2, segmenter=3.0)
    resumption = find_resumption(begun.run_dir, begun.found)
    assert float(resumption.start.models[ModelName.SEGMENTER]["w"][0]) == 3.0
    assert resumption.fall_backs == 1


def test_going_back_is_counted_and_going_on_is_not(begun: Begun) -> None:
    begun.commit(1, segmenter=1.0)
    begun.journal.append(Happening.RESUMED, {"number": 1, "damaged": []})
    begun.commit(2, segmenter=2.0)
    assert find_resumption(begun.run_dir, begun.found).fall_backs == 0
    _flip_a_bit(begun.run_dir, 2)
    assert find_resumption(begun.run_dir, begun.found).fall_backs == 1


def test_a_disk_that_damages_again_and_again_ends_the_run_before_its_sites_do(begun: Begun) -> None:
    begun.commit(1, segmenter=1.0)
    for _ in range(MOST_FALL_BACKS):
        begun.commit(2, segmenter=2.0)
        begun.journal.append(Happening.RESUMED, {"number": 1, "damaged": ["x"]})
    assert find_resumption(begun.run_dir, begun.found).fall_backs == MOST_FALL_BACKS
    begun.last = begun.found.commits[-1].checkpoint
    begun.commit(2, segmenter=2.0)
    _flip_a_bit(begun.run_dir, 2)
    with pytest.raises(CheckpointError, match=r"run abc cannot go on: .*000002.* is damaged.* 3 times, and no site"):
        find_resumption(begun.run_dir, begun.found)


def test_without_any_whole_checkpoint_nothing_goes_on(begun: Begun) -> None:
    begun.commit(1, segmenter=1.0)
    begun.commit(2, segmenter=2.0)
    for number in (1, 2):
        _flip_a_bit(begun.run_dir, number)
    with pytest.raises(CheckpointError, match=r"run abc cannot go on, no checkpoint is whole: .*000002.*000001"):
        find_resumption(begun.run_dir, begun.found)


def _differs(begun: Begun, **description: Any) -> str:
    with pytest.raises(ConfigError, match="run abc is unfinished after 0 rounds, and this is another one") as refused:
        require_same_run(begun.found, description)
    return str(refused.value)


def test_the_same_study_may_go_on_with_other_patience_and_another_name(begun: Begun) -> None:
    patient = CONFIG.model_copy(update={"name": "x", "federation": FederationConfig(quorum=1.0, round_timeout_s=60.0)})
    require_same_run(begun.found, describe_study(patient, None))
    require_same_run(begun.found, describe_sites(SITES))


def test_another_configuration_is_refused_and_every_difference_named(begun: Begun) -> None:
    other = CONFIG.model_copy(update={"seed": 7, "adapt": AdaptConfig(num_rounds=99)})
    text = _differs(begun, **describe_study(other, Path("stage")))
    assert f"adapt.num-rounds: {CONFIG.adapt.num_rounds} in that run, 99 now" in text
    assert "seed: 0 in that run, 7 now" in text
    assert "start from: None in that run, stage now" in text
    assert "--fresh" in text


def test_other_sites_are_refused_by_name(begun: Begun) -> None:
    text = _differs(begun, **describe_sites((SOURCE, replace(TARGET_A, num_cases=8), replace(TARGET_B, site_id="c"))))
    assert "target-a: target with 1 training and 5 test cases in that run, target with 8 training" in text
    assert "target-b: target with 3 training and 5 test cases in that run, not there now" in text
    assert "c: not there in that run, target with 3" in text


def test_views_say_what_the_journal_says_whatever_the_crash_has_left(begun: Begun) -> None:
    run_dir = begun.run_dir
    begun.commit(1, segmenter=1.0)
    begun.commit(2, _record(2, row="asc", target_a=SiteState.USED))
    begun.commit(9, _record(9, source=SiteState.USED, target_a=SiteState.FAILED), segmenter=9.0)
    (run_dir / "history.jsonl").write_text('{"phase": "half a li')
    (run_dir / "evaluation.json").write_text('{"source-only": {}}')
    latest = run_dir / "checkpoints" / "latest"
    (latest / "denoiser").mkdir(parents=True)
    (latest / "denoiser" / ".part-abc.safetensors").write_text("half a model")
    (run_dir / ".part-xyzstudy.json").write_text("half a study")
    restore_views(run_dir, find_resumption(run_dir, begun.found))
    history = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    assert [line["server_round"] for line in history] == [1, 2, 9]
    assert history[0] == json.loads(json.dumps(asdict(_record(1, source=SiteState.USED))))
    scores = json.loads((run_dir / "evaluation.json").read_text())
    assert scores == {"asc": {"target-a": {"state": "used", "num_examples": 0, "dice": 1 / 3}}}
    assert [path.name for path in latest.iterdir()] == ["segmenter"]
    # Round 9 was its phase's last one, and the crash came before the phase's own name was there.
    assert float(load_checkpoint(run_dir / "checkpoints" / "adapt" / "segmenter")[0]["w"][0]) == 9.0
    assert not list(run_dir.rglob(".part-*"))


def test_two_checkpoints_are_kept_and_every_site_s_last_counted_reply_is_known(begun: Begun) -> None:
    begun.commit(1, segmenter=1.0)
    begun.commit(2, segmenter=2.0)
    begun.commit(3, _record(3, source=SiteState.USED, target_a=SiteState.USED))
    begun.commit(4, _record(4, source=SiteState.USED, target_a=SiteState.FAILED), segmenter=4.0)
    commits = begun.found.commits
    assert kept_numbers(commits) == [2, 4]
    assert kept_numbers(()) == []
    assert last_used(commits) == {"source": 4, "target-a": 3}
