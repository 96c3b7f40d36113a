"""An audit log grows line by line, survives a crash at any of them, and refuses to go on when its end is gone."""

from __future__ import annotations

import json
import math
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from diffuse_uda.errors import AuditError
from diffuse_uda.exchange.audit import EMPTY, GENESIS, AuditLog, hash_of, head_path, parsed, read_head
from diffuse_uda.exchange.audit_check import check_log

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _log(folder: Path) -> AuditLog:
    times = iter(NOON + timedelta(seconds=second) for second in range(1000))
    return AuditLog(folder / "audit.jsonl", side="site", clock=lambda: next(times))


def _entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_line_holds_the_hash_of_the_one_before(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.append("order-received", {"run": "r", "bytes": 3})
    log.append("message-sent", {"run": "r"})
    first, second = _entries(tmp_path)
    assert first == {
        "n": 1,
        "time": "2026-11-22T12:00:00.000+00:00",
        "side": "site",
        "event": "order-received",
        "run": "r",
        "bytes": 3,
        "prev": GENESIS,
        "hash": hash_of(first),
    }
    assert (second["n"], second["prev"]) == (2, first["hash"])
    head = read_head(tmp_path / "audit.jsonl")
    assert (head.entries, head.hash) == (2, second["hash"])
    assert head.size_bytes == (tmp_path / "audit.jsonl").stat().st_size


def test_a_log_goes_on_where_another_process_left_it(tmp_path: Path) -> None:
    _log(tmp_path).append("one", {})
    _log(tmp_path).append("two", {})
    assert [entry["n"] for entry in _entries(tmp_path)] == [1, 2]
    assert check_log(tmp_path / "audit.jsonl").findings == ()


def test_writers_take_turns(tmp_path: Path) -> None:
    def write() -> None:
        log = AuditLog(tmp_path / "audit.jsonl", side="site")
        for _ in range(5):
            log.append("tick", {})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    checked = check_log(tmp_path / "audit.jsonl")
    assert (checked.num_entries, checked.findings) == (20, ())


@pytest.mark.parametrize("place", ["before the line", "half the line", "line without head"])
def test_a_process_that_dies_while_it_writes_loses_that_entry_alone(tmp_path: Path, place: str) -> None:
    log = _log(tmp_path)
    log.append("one", {})
    child = os.fork()
    if child == 0:  # the process that dies; nothing of pytest runs in it
        if place == "before the line":
            log._head = lambda _file: os._exit(9)  # type: ignore[assignment,method-assign]
        if place == "half the line":
            with (tmp_path / "audit.jsonl").open("ab") as file:
                file.write(b'{"event":"tw')
            os._exit(9)
        log._write_head = lambda _head: os._exit(9)  # type: ignore[assignment,method-assign]
        log.append("two", {})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    _log(tmp_path).append("three", {})
    assert [entry["event"] for entry in _entries(tmp_path)] == ["one", "three"]
    assert check_log(tmp_path / "audit.jsonl").findings == ()


def test_a_crash_at_the_very_first_line_leaves_a_usable_log(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_bytes(b'{"half":')
    assert read_head(tmp_path / "audit.jsonl") == EMPTY
    _log(tmp_path).append("one", {})
    assert [entry["event"] for entry in _entries(tmp_path)] == ["one"]


def test_nothing_is_added_to_a_log_that_lost_its_end(tmp_path: Path) -> None:
    log, path = _log(tmp_path), tmp_path / "audit.jsonl"
    log.append("one", {})
    size = path.stat().st_size
    log.append("two", {})
    os.truncate(path, size)
    with pytest.raises(AuditError, match=f"{size} bytes, its head says"):
        log.append("three", {})
    path.unlink()
    with pytest.raises(AuditError, match="0 bytes, its head says"):
        log.append("three", {})


def test_nothing_is_added_to_a_log_without_a_usable_head(tmp_path: Path) -> None:
    log, path = _log(tmp_path), tmp_path / "audit.jsonl"
    log.append("one", {})
    log.append("two", {})
    head_path(path).write_text("{}", encoding="utf-8")
    with pytest.raises(AuditError, match="cannot be read \\(KeyError\\)"):
        log.append("three", {})
    head_path(path).unlink()
    with pytest.raises(AuditError, match="has lines, but its head"):
        log.append("three", {})


def test_what_json_does_not_know_is_not_written(tmp_path: Path) -> None:
    log = _log(tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        log.append("one", {"loss": math.nan})
    log.append("two", {})
    assert [entry["n"] for entry in _entries(tmp_path)] == [1]


@pytest.mark.parametrize("line", [b"", b"[1]\n", b'{"a": 1}\n', b'{"a":NaN}\n', b'{"b":1,"a":1}\n', b'{"a":1}'])
def test_only_lines_of_this_program_are_entries(line: bytes) -> None:
    assert parsed(line) is None
    assert parsed(b'{"a":1}\n') == {"a": 1}
