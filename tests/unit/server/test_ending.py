"""A run always ends with a name and an exit code, whatever ended it."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.errors import ConfigError, QuorumError, StorageError
from server import ending
from server.__main__ import app
from server.ending import END_FILE, EXIT_CODES, Ending, RunEnd, end_of, read_ending, recorded_end

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def _ended_by(error: BaseException, folder: Path) -> Ending | None:
    with pytest.raises(type(error)), run_lock(folder), recorded_end(folder, now=lambda: NOON):
        raise error
    return read_ending(folder)


@pytest.mark.parametrize(
    ("error", "end", "reason", "code"),
    [
        (QuorumError("only 1 of 3"), RunEnd.DESERTED, "only 1 of 3", 3),
        (ConfigError("two sources"), RunEnd.REFUSED, "two sources", 2),
        (MemoryError(), RunEnd.FAILED, "MemoryError", 1),
        (OSError(28, "No space left on device"), RunEnd.FAILED, "OSError: [Errno 28] No space left on device", 1),
        (StorageError("/runs is full"), RunEnd.FAILED, "/runs is full", 1),
        (KeyboardInterrupt(), RunEnd.STOPPED, "KeyboardInterrupt", 130),
        (SystemExit(5), RunEnd.STOPPED, "SystemExit: 5", 130),
        (ZeroDivisionError("a defect"), RunEnd.FAILED, "ZeroDivisionError: a defect", 1),
    ],
)
def test_every_way_to_end_has_a_name_and_a_code(
    error: BaseException, end: RunEnd, reason: str, code: int, tmp_path: Path
) -> None:
    assert _ended_by(error, tmp_path) == Ending(end=end, reason=reason, at="2026-11-23T12:00:00+00:00")
    assert EXIT_CODES[end] == code


def test_a_run_that_is_done_is_completed(tmp_path: Path) -> None:
    with run_lock(tmp_path), recorded_end(tmp_path, now=lambda: NOON):
        assert json.loads((tmp_path / END_FILE).read_text())["end"] == "running"
    assert read_ending(tmp_path) == Ending(end=RunEnd.COMPLETED, at="2026-11-23T12:00:00+00:00")


def _work_and_die(folder: Path) -> None:
    with run_lock(folder), recorded_end(folder):
        os._exit(9)


def test_a_killed_run_is_told_from_a_running_one_by_its_lock(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_work_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    killed = read_ending(tmp_path)
    assert killed is not None
    assert (killed.end, killed.exit_code) == (RunEnd.KILLED, 137)
    assert "goes on" in killed.reason


def test_a_running_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "is_held_elsewhere", lambda _folder: True)
    (tmp_path / END_FILE).write_text('{"end": "running", "reason": "", "at": "noon"}')
    assert read_ending(tmp_path) == Ending(end=RunEnd.RUNNING, at="noon")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"end": "dancing", "reason": "", "at": ""}'])
def test_a_folder_without_a_run_has_no_ending(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / END_FILE).write_text(content)
    assert read_ending(tmp_path) is None


def test_a_full_disk_does_not_hide_why_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: object, **_names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ending, "replaced_atomically", full)
    with pytest.raises(QuorumError), recorded_end(tmp_path):
        raise QuorumError("nobody came")
    assert "nobody came" in caplog.text


@pytest.mark.fault("attendance")
def test_an_end_is_shown_with_its_exit_code(tmp_path: Path) -> None:
    _ended_by(QuorumError("only 1 of 3 targets"), tmp_path)
    shown = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert shown.exit_code == 3
    assert shown.stdout == "deserted 2026-11-23T12:00:00+00:00 only 1 of 3 targets\n"
    nothing = CliRunner().invoke(app, ["status", str(tmp_path / "elsewhere")])
    assert (nothing.exit_code, nothing.stdout) == (2, f"{tmp_path / 'elsewhere'} holds no run\n")


@pytest.mark.fault("attendance")
def test_every_end_has_an_exit_code_of_its_own() -> None:
    assert EXIT_CODES.keys() == set(RunEnd)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert end_of(RuntimeError()) is RunEnd.FAILED
