"""Scalars beside a run: every committed round once, whatever happened in between."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from diffuse_uda.types import ModelName
from server.history import RoundFinished, RoundRecord, RoundSaved, SiteRecord, SiteState, StudyFinished, StudyStarted
from server.journal import JOURNAL_FILE, Happening, Journal
from server.tensorboard_events import FOLDER, TensorBoardEvents, committed_rounds, scalars_of

RECORD = RoundRecord(
    phase="adapt",
    row="",
    model=ModelName.SEGMENTER,
    server_round=1,
    num_rounds=9,
    num_tensors=3,
    sites={
        "leeds": SiteRecord(
            state=SiteState.USED,
            seconds=1.5,
            metrics={"loss": 0.25, "seconds": 1.0},
            num_examples=4,
            bytes_sent=100,
            bytes_received=90,
        ),
        "york": SiteRecord(state=SiteState.LOST, seconds=3.0, bytes_sent=100),
    },
    seconds=4.0,
    seconds_at_work=1.0,
)
STARTED = StudyStarted(name="brain", method="asc", site_ids=("leeds", "york"), num_rounds=9, run="ab12")


def _round(number: int) -> RoundRecord:
    site = replace(RECORD.sites["leeds"], metrics={"loss": 1.0 / number})
    return replace(RECORD, server_round=number, sites={**RECORD.sites, "leeds": site})


def _commit(journal: Journal, number: int) -> None:
    checkpoint = {"number": number, "models": {}}
    facts = {"number": number, "ends_phase": False, "changed": [], "checkpoint": checkpoint}
    journal.append(Happening.COMMITTED, {**facts, "record": asdict(_round(number))})


def _hear(events: TensorBoardEvents, journal: Journal, number: int) -> None:
    events(RoundFinished(record=_round(number)))
    _commit(journal, number)
    events(RoundSaved(phase="adapt", server_round=number, num_rounds=9, checkpoint="segmenter"))


def _points(run_dir: Path, folder: str, tag: str) -> list[tuple[int, float]]:
    """What TensorBoard itself reads."""
    return [
        (event.step, round(value.tensor.float_val[0], 4))
        for path in sorted((run_dir / FOLDER / folder).iterdir())
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == tag
    ]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    ticks = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(100))
    begun = Journal(tmp_path / JOURNAL_FILE, clock=lambda: next(ticks))
    begun.append(Happening.STARTED, {"run": "ab12"})
    return begun


def test_every_committed_round_is_a_point_of_every_site(tmp_path: Path, journal: Journal) -> None:
    events = TensorBoardEvents(tmp_path)
    events(STARTED)
    for number in (1, 2):
        _hear(events, journal, number)
    assert _points(tmp_path, "site-leeds", "loss/adapt") == [(1, 1.0), (2, 0.5)]
    assert _points(tmp_path, "site-leeds", "exchange/to-server-bytes") == [(1, 90.0), (2, 90.0)]
    assert _points(tmp_path, "federation", "exchange/used-sites") == [(1, 1.0), (2, 1.0)]
    assert _points(tmp_path, "federation", "exchange/to-sites-bytes") == [(1, 200.0), (2, 200.0)]


def test_a_run_that_goes_on_has_no_point_twice(tmp_path: Path, journal: Journal) -> None:
    events = TensorBoardEvents(tmp_path)
    events(STARTED)
    for number in (1, 2, 3):
        _hear(events, journal, number)
    events(RoundFinished(record=_round(4)))  # the crash came before the commit
    journal.append(Happening.RESUMED, {"number": 2, "damaged": ["3"]})  # and round 3 is damaged
    again = TensorBoardEvents(tmp_path)
    again(STARTED)
    for number in (3, 4):
        _hear(again, journal, number)
    assert _points(tmp_path, "site-leeds", "loss/adapt") == [(1, 1.0), (2, 0.5), (3, 0.3333), (4, 0.25)]


def test_a_new_run_in_the_folder_begins_with_nothing(tmp_path: Path, journal: Journal) -> None:
    events = TensorBoardEvents(tmp_path)
    events(STARTED)
    _hear(events, journal, 1)
    journal.append(Happening.STARTED, {"run": "cd34"})
    TensorBoardEvents(tmp_path)(STARTED)
    assert not (tmp_path / FOLDER).exists()
    assert committed_rounds(tmp_path) == []


def test_points_keep_the_time_at_which_rounds_were_committed(tmp_path: Path, journal: Journal) -> None:
    _commit(journal, 1)
    ((at, record),) = committed_rounds(tmp_path)
    assert at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC).timestamp()
    assert record == _round(1)


def test_an_evaluation_s_scores_are_named_after_the_method(tmp_path: Path) -> None:
    site = SiteRecord(state=SiteState.USED, seconds=1.0, metrics={"dice": 0.7})
    scored = replace(RECORD, phase="evaluate-asc", row="asc", sites={"leeds": site})
    assert ("site-leeds", "dice/asc", 0.7) in set(scalars_of(scored))


def test_a_site_that_sent_nothing_has_seconds_and_bytes_alone() -> None:
    tags = {tag for place, tag, _ in scalars_of(RECORD) if place == "site-york"}
    assert tags == {"exchange/seconds", "exchange/to-site-bytes", "exchange/to-server-bytes"}


def test_file_names_do_not_tell_the_machine(tmp_path: Path, journal: Journal) -> None:
    events = TensorBoardEvents(tmp_path)
    events(STARTED)
    _hear(events, journal, 1)
    events(StudyFinished(run_dir=tmp_path, seconds=1.0))
    assert all(path.name.split(".", 3)[3].replace(".", "").isdecimal() for path in (tmp_path / FOLDER).glob("*/*"))


def test_a_run_goes_on_without_tensorboard(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    events = TensorBoardEvents(tmp_path)
    with caplog.at_level(logging.WARNING):
        events(STARTED)
        _hear(events, journal, 1)
    assert len([record for record in caplog.records if "TensorBoard" in record.message]) == 1
    assert not (tmp_path / FOLDER).exists()
