"""The history of accepted updates outlives the process, and forgets rounds that were undone."""

from __future__ import annotations

import errno
import json
import os
from functools import partial
from pathlib import Path

import pytest

from diffuse_uda.data.storage import written_patiently
from server.accepted import ROUNDS_REMEMBERED, Accepted, AcceptedUpdates


def _update(server_round: int, site_id: str = "leeds", norm: float = 1.0, phase: str = "adapt") -> Accepted:
    return Accepted(phase=phase, server_round=server_round, site_id=site_id, norm=norm, tensors={"w": norm / 2})


def test_a_round_is_compared_with_earlier_ones_of_its_phase_by_whoever_reads_them(tmp_path: Path) -> None:
    updates = AcceptedUpdates(folder=tmp_path)
    assert updates.before("adapt", 1) == []
    updates.add([_update(1), _update(1, "york")])
    updates.add([_update(2)])
    updates.add([])
    expected = [_update(1), _update(1, "york")]
    assert updates.before("adapt", 2) == expected
    assert AcceptedUpdates(folder=tmp_path).before("adapt", 2) == expected
    assert updates.before("refine-for-1", 1) == []
    assert updates.before("adapt", 3) == [*expected, _update(2)]


def test_a_disk_that_is_full_is_waited_for_and_nothing_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, failures = os.fsync, [errno.ENOSPC, errno.EIO]

    def fail_twice(descriptor: int) -> None:
        if failures:
            raise OSError(failures.pop(), "the disk is ill")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail_twice)
    monkeypatch.setattr("server.accepted.written_patiently", partial(written_patiently, sleep=lambda _seconds: None))
    AcceptedUpdates(folder=tmp_path).add([_update(1)])
    assert failures == []
    assert AcceptedUpdates(folder=tmp_path).before("adapt", 2) == [_update(1)]


def test_a_round_that_is_done_again_counts_in_its_last_version(tmp_path: Path) -> None:
    AcceptedUpdates(folder=tmp_path).add([_update(1), _update(2, norm=7.0)])
    again = AcceptedUpdates(folder=tmp_path)
    assert again.before("adapt", 2) == [_update(1)]  # round 2 was not committed: it is no history for itself
    again.add([_update(2, norm=3.0)])
    assert [update.norm for update in AcceptedUpdates(folder=tmp_path).before("adapt", 3)] == [1.0, 3.0]


def test_half_a_line_of_a_crash_spoils_only_itself(tmp_path: Path) -> None:
    AcceptedUpdates(folder=tmp_path).add([_update(1)])
    with (tmp_path / "accepted.jsonl").open("a") as file:
        file.write('{"phase": "adapt", "server_ro')
    with (tmp_path / "accepted.jsonl").open("a") as file:
        file.write("\n[1, 2]\n" + json.dumps({"phase": "adapt"}))
    AcceptedUpdates(folder=tmp_path).add([_update(2)])
    assert AcceptedUpdates(folder=tmp_path).before("adapt", 3) == [_update(1), _update(2)]


def test_only_the_last_rounds_of_a_long_phase_count(tmp_path: Path) -> None:
    updates = AcceptedUpdates(folder=tmp_path)
    updates.before("adapt", 1)
    updates.add([_update(server_round) for server_round in range(1, 40)])
    assert [update.server_round for update in updates.before("adapt", 40)] == list(range(40 - ROUNDS_REMEMBERED, 40))
