"""The coordinator's journal: a chain that a crash can only shorten by what it was writing."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.errors import CheckpointError, StorageError
from server.journal import JOURNAL_FILE, Happening, Journal, read_journal

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _journal(folder: Path, **options: Any) -> Journal:
    return Journal(folder / JOURNAL_FILE, clock=lambda: NOON, **options)


def _written(folder: Path, num_entries: int = 3) -> bytes:
    journal = _journal(folder)
    journal.append(Happening.STARTED, {"run": "a"})
    for number in range(1, num_entries):
        journal.append(Happening.COMMITTED, {"number": number})
    return (folder / JOURNAL_FILE).read_bytes()


def test_entries_come_back_in_order_and_every_one_holds_the_hash_of_the_one_before(tmp_path: Path) -> None:
    content = _written(tmp_path)
    entries, size_bytes = read_journal(tmp_path / JOURNAL_FILE)
    assert [(entry["n"], entry["event"]) for entry in entries] == [(1, "started"), (2, "committed"), (3, "committed")]
    assert entries[0]["time"] == "2026-11-22T12:00:00.000+00:00"
    assert [entry["prev"] for entry in entries] == ["0" * 64, entries[0]["hash"], entries[1]["hash"]]
    assert size_bytes == len(content)


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read_journal(tmp_path / JOURNAL_FILE) == ([], 0)


def test_whatever_a_crash_leaves_of_the_last_line_the_journal_goes_on_after_the_one_before(tmp_path: Path) -> None:
    whole = _written(tmp_path)
    path = tmp_path / JOURNAL_FILE
    start_of_last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(start_of_last, len(whole)):
        for rest in (whole[start_of_last:length], bytes(length - start_of_last)):  # cut off, or never filled
            path.write_bytes(whole[:start_of_last] + rest)
            assert len(read_journal(path)[0]) == 2
            _journal(tmp_path).append(Happening.COMMITTED, {"number": 2})
            assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", ["changed", "removed", "swapped", "reformatted"])
def test_damage_before_the_last_line_is_refused_and_the_line_named(tmp_path: Path, damage: str) -> None:
    lines = _written(tmp_path, 4).splitlines(keepends=True)
    match damage:
        case "changed":
            lines[1] = lines[1].replace(b'"number":1', b'"number":7')
        case "removed":
            del lines[1]
        case "swapped":
            lines[1], lines[2] = lines[2], lines[1]
        case _:
            lines[1] = lines[1].replace(b'"number":1', b'"number": 1')
    (tmp_path / JOURNAL_FILE).write_bytes(b"".join(lines))
    with pytest.raises(CheckpointError, match=rf"line 2 of {len(lines)}.*Restore the run folder from a copy"):
        read_journal(tmp_path / JOURNAL_FILE)


def test_an_entry_that_the_disk_took_at_the_third_attempt_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    journal, flush, attempts = _journal(tmp_path, sleep=pauses.append), os.fsync, []
    journal.append(Happening.STARTED, {"run": "a"})

    def fail_twice(descriptor: int) -> None:
        attempts.append(descriptor)
        if len(attempts) < 3:
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail_twice)
    journal.append(Happening.FINISHED, {})
    assert pauses == [1.0, 2.0]
    assert [entry["event"] for entry in read_journal(tmp_path / JOURNAL_FILE)[0]] == ["started", "finished"]


def test_an_entry_that_the_disk_never_took_is_said_to_be_missing_and_the_rest_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = _journal(tmp_path, patience_s=0.0)
    journal.append(Happening.STARTED, {"run": "a"})

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot write .*journal\.jsonl: Input/output error"):
            journal.append(Happening.COMMITTED, {"number": 1})
    journal.append(Happening.COMMITTED, {"number": 2})
    assert [entry.get("number") for entry in read_journal(tmp_path / JOURNAL_FILE)[0]] == [None, 2]
