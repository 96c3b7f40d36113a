"""After a whole run both sides tell the same story; what happens on the way in between is refused and stands out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message, RecordDict

from client.site import AUDIT_LOG
from diffuse_uda.exchange.audit_check import CheckedLog, check_log, differences
from server.history import HISTORY_FILE
from server.register import AUDIT_LOG as SERVER_LOG
from simulations.engines.in_process import run_in_process
from tests.fake_federation import node_configs, run_config, use_arithmetic

SITES = ("source", "target-a", "target-b")
Return = Callable[[Message], Message]


def _run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, on_return: Return = lambda reply: reply, **overrides: Any
) -> None:
    use_arithmetic(monkeypatch)
    run_in_process(
        run_config(folder, **overrides), node_configs(folder), on_event=lambda _event: None, on_return=on_return
    )


def _logs(folder: Path) -> tuple[CheckedLog, dict[str, CheckedLog]]:
    server = check_log(folder / "run" / SERVER_LOG)
    sites = {site_id: check_log(folder / "work" / site_id / AUDIT_LOG) for site_id in SITES}
    for log in (server, *sites.values()):
        assert log.findings == ()
    return server, sites


def _ends(folder: Path, site_id: str) -> dict[str, tuple[str, str]]:
    lines = (folder / "run" / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    records = {record["phase"]: record["sites"].get(site_id) for record in map(json.loads, lines)}
    return {phase: (site["state"], site["reason"]) for phase, site in records.items() if site is not None}


def test_after_a_run_both_sides_have_the_same_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path, monkeypatch)
    server, sites = _logs(tmp_path)
    for site_id, site in sites.items():
        assert differences(site, server) == [], site_id
        assert site.sites == {site_id}
        assert len(site.runs) == 1
    # Orders and replies: warm-up 2, adapt 2 a site, evaluations 2 x 2 a target; and a card each.
    assert [sum(site.messages.values()) for site in sites.values()] == [1 + 2 + 2, 1 + 4 + 2, 1 + 4 + 2]


def test_a_second_run_in_the_same_place_goes_on_in_the_same_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        _run(tmp_path, monkeypatch, resume=False)
    server, sites = _logs(tmp_path)
    assert all(differences(site, server) == [] for site in sites.values())
    assert all(len(site.runs) == 2 for site in sites.values())


def test_no_log_holds_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path, monkeypatch)
    for log in tmp_path.rglob(f"{AUDIT_LOG}*"):
        assert str(tmp_path).encode() not in log.read_bytes()


def _is_adapt_reply(reply: Message) -> bool:
    return reply.metadata.message_type == "train.adapt_target" and reply.has_content()


def _of_target_b(reply: Message) -> bool:
    return _is_adapt_reply(reply) and reply.content["signature"]["site-id"] == "target-b"


def _flip(reply: Message) -> Message:
    if _of_target_b(reply):
        array = reply.content["weights"]["0"]
        array.data = bytes([array.data[0] ^ 1]) + array.data[1:]  # type: ignore[union-attr]
    return reply


def test_a_bit_that_flips_on_the_way_costs_the_reply_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path, monkeypatch, _flip)
    ends = _ends(tmp_path, "target-b")
    assert ends["adapt"] == ("rejected", "its message is not taken: bad-signature")
    assert {state for phase, (state, _) in ends.items() if phase != "adapt"} == {"used"}
    server, sites = _logs(tmp_path)
    assert len(differences(sites["target-b"], server)) == 2  # what the site sent, and what came instead
    assert differences(sites["target-a"], server) == []


def _copied(content: RecordDict) -> RecordDict:
    """A copy that stays whole when a reader takes the buffers out of the other."""
    return RecordDict(
        {
            name: ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else record
            for name, record in content.items()
        }
    )


@pytest.mark.fault("R-10")
def test_a_reply_that_is_played_again_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[RecordDict] = []

    def play_again(reply: Message) -> Message:
        if _of_target_b(reply):
            first.append(_copied(reply.content))
            reply.content = _copied(first[0])
        return reply

    _run(tmp_path, monkeypatch, play_again, **{"adapt.num-rounds": 2})
    assert len(first) == 2
    lines = (tmp_path / "run" / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    ends = [
        (record["server_round"], record["sites"]["target-b"]["state"], record["sites"]["target-b"]["reason"])
        for record in map(json.loads, lines)
        if record["phase"] == "adapt"
    ]
    assert ends == [(1, "used", ""), (2, "rejected", "its message is not taken: replayed")]


def test_an_unsigned_message_costs_the_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strip(reply: Message) -> Message:
        if _of_target_b(reply):
            del reply.content["signature"]
        return reply

    _run(tmp_path, monkeypatch, strip)
    assert _ends(tmp_path, "target-b")["adapt"] == ("rejected", "its message is not taken: unsigned")
