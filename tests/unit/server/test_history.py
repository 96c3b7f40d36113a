"""Every finished round is one line on the disk."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from diffuse_uda.types import ModelName
from server.history import (
    HISTORY_FILE,
    RoundFinished,
    RoundRecord,
    RoundStarted,
    SiteRecord,
    SiteState,
    StudyFinished,
    StudyStarted,
    append_record,
    log_event,
    seconds_at_work,
)

RECORD = RoundRecord(
    phase="adapt",
    row="",
    model=ModelName.SEGMENTER,
    server_round=1,
    num_rounds=2,
    num_tensors=3,
    sites={"source": SiteRecord(state=SiteState.USED, seconds=1.5, metrics={"loss": 0.25}, num_examples=4)},
    seconds=2.0,
    seconds_at_work=1.0,
)


def _lines(folder: Path) -> list[str]:
    return (folder / HISTORY_FILE).read_text(encoding="utf-8").splitlines()


def test_a_round_is_one_json_line_and_the_next_is_added(tmp_path: Path) -> None:
    append_record(tmp_path, RECORD)
    append_record(tmp_path, RECORD)
    first, second = map(json.loads, _lines(tmp_path))
    assert first == second
    assert (first["phase"], first["server_round"], first["num_tensors"]) == ("adapt", 1, 3)
    assert first["sites"]["source"]["state"] == "used"
    assert first["sites"]["source"]["metrics"] == {"loss": 0.25}


def test_a_disk_that_does_not_take_a_line_leaves_the_history_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_record(tmp_path, RECORD)
    before = (tmp_path / HISTORY_FILE).read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            append_record(tmp_path, RECORD)
    assert (tmp_path / HISTORY_FILE).read_bytes() == before


def test_half_a_line_of_a_crash_spoils_only_itself(tmp_path: Path) -> None:
    append_record(tmp_path, RECORD)
    with (tmp_path / HISTORY_FILE).open("a", encoding="utf-8") as file:
        file.write('{"phase": "ada')
    append_record(tmp_path, RECORD)
    lines = _lines(tmp_path)
    assert lines[1] == '{"phase": "ada'
    assert json.loads(lines[0]) == json.loads(lines[2])


def _site(seconds: float, work: float | None) -> SiteRecord:
    metrics = {} if work is None else {"seconds": work}
    return SiteRecord(state=SiteState.USED, seconds=seconds, metrics=metrics)


@pytest.mark.parametrize(
    ("sites", "at_work"),
    [
        ([], 0.0),
        ([_site(10.0, 9.0)], 9.0),
        ([_site(10.0, 9.0), _site(8.0, 8.0)], 10.0),  # 1-10 and 0-8
        ([_site(10.0, 2.0), _site(5.0, 4.0)], 6.0),  # 8-10 and 1-5
        ([_site(10.0, 9.0), _site(5.0, 1.0)], 9.0),  # 4-5 lies within 1-10
        ([_site(3.0, 99.0)], 3.0),  # a clock that runs too fast
        ([_site(3.0, None)], 0.0),
    ],
)
def test_time_at_work_is_the_union_of_the_sites_intervals(sites: list[SiteRecord], at_work: float) -> None:
    assert seconds_at_work(sites) == pytest.approx(at_work)


def test_an_operator_reads_the_rounds_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_event(StudyStarted(name="pilot", method="asc", site_ids=("source", "target"), num_rounds=4))
    log_event(RoundStarted(phase="adapt", server_round=1, num_rounds=2, site_ids=("source",)))
    log_event(RoundFinished(record=RECORD))
    log_event(StudyFinished(run_dir=Path("runs/pilot"), seconds=61.0))
    assert caplog.messages == [
        "study pilot: asc with source, target, 4 rounds",
        "adapt, round 1 of 2: source used in 2.0 s",
        "done after 61 s; everything is in runs/pilot",
    ]
