"""Whatever is done to a log is found; whatever one side has and the other has not is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffuse_uda.errors import AuditError
from diffuse_uda.exchange.audit import AuditLog, hash_of, head_path, line_of
from diffuse_uda.exchange.audit_check import check_log, differences
from diffuse_uda.exchange.audit_entries import (
    MESSAGE_RECEIVED,
    MESSAGE_REFUSED,
    MESSAGE_SENT,
    ORDER_RECEIVED,
    ORDER_SENT,
    QUESTION_SENT,
    message_facts,
    order_facts,
)
from diffuse_uda.exchange.signing import MessageKind, Statement, make_key

KEY = make_key()
Lines = list[bytes]


def _order(site_id: str = "leeds", run: str = "r1", payload: str = "p1") -> dict[str, object]:
    return order_facts(
        fall_backs=0,
        run=run,
        site_id=site_id,
        message_type="train.adapt_target",
        payload=payload,
        base="b1",
        num_bytes=10,
    )


def _message(site_id: str = "leeds", run: str = "r1", server_round: int = 1) -> dict[str, object]:
    statement = Statement(
        kind=MessageKind.REPLY,
        run=run,
        site_id=site_id,
        phase="adapt",
        server_round=server_round,
        base="b1",
        payload=f"a{server_round}",
    )
    return message_facts(statement, KEY.public, KEY.sign(statement), 20)


def _write(path: Path, side: str, *entries: tuple[str, dict[str, object]]) -> Path:
    log = AuditLog(path, side=side)
    for event, facts in entries:
        log.append(event, facts)
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    entries = [(ORDER_RECEIVED, _order(payload=f"p{n}")) for n in range(3)]
    return _write(tmp_path / "audit.jsonl", "site", *entries, (MESSAGE_SENT, _message()), ("note", {"run": "r1"}))


def _rules(path: Path) -> set[str]:
    return {finding.rule for finding in check_log(path).findings}


def test_a_log_as_it_was_written_is_whole(whole: Path) -> None:
    checked = check_log(whole)
    assert checked.findings == ()
    assert checked.num_entries == 5
    assert (set(checked.sides), set(checked.runs), set(checked.sites)) == ({"site"}, {"r1"}, {"leeds"})
    assert sum(checked.messages.values()) == 4


def _edit(lines: Lines, index: int, **changes: object) -> Lines:
    entry = {**json.loads(lines[index]), **changes}
    entry["hash"] = hash_of(entry)
    return [*lines[:index], line_of(entry), *lines[index + 1 :]]


TAMPERINGS: dict[str, Callable[[Lines], Lines]] = {
    "a changed value": lambda lines: [lines[0].replace(b'"bytes":10', b'"bytes":99'), *lines[1:]],
    "a changed value, its own hash put right": lambda lines: _edit(lines, 1, bytes=99),
    "a changed last line": lambda lines: [*lines[:-1], lines[-1].replace(b"note", b"lies")],
    "a changed last line, its own hash put right": lambda lines: _edit(lines, 4, event="lies"),
    "a removed line": lambda lines: [*lines[:2], *lines[3:]],
    "a removed first line": lambda lines: lines[1:],
    "an inserted line": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "two lines swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "the last line cut off": lambda lines: lines[:-1],
    "everything cut off": lambda _lines: [],
    "half a line cut off": lambda lines: [*lines[:-1], lines[-1][:20]],
    "a line added": lambda lines: [*lines, lines[-1]],
    "a line that is none": lambda lines: [*lines[:2], b"hello\n", *lines[2:]],
    "spaces in a line": lambda lines: [lines[0].replace(b'":', b'": '), *lines[1:]],
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_whatever_is_done_to_a_log_is_found(whole: Path, how: str) -> None:
    whole.write_bytes(b"".join(TAMPERINGS[how](whole.read_bytes().splitlines(keepends=True))))
    assert check_log(whole).findings


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_bit_is_missed(whole: Path, data: st.DataObject) -> None:
    original = whole.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    flipped = bytearray(original)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        whole.write_bytes(flipped)
        assert check_log(whole).findings
    finally:
        whole.write_bytes(original)


def test_a_finding_says_where_and_one_wrong_line_is_not_a_hundred_findings(whole: Path) -> None:
    lines = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(TAMPERINGS["a changed value"](lines)))
    assert [str(finding) for finding in check_log(whole).findings] == [
        "line 1: [changed] its hash does not fit what it says"
    ]
    whole.write_bytes(b"".join(lines[:-1]))
    assert [str(finding) for finding in check_log(whole).findings] == ["[cut-off] 4 lines, its head says 5"]


def test_a_log_written_anew_with_its_head_is_told_by_its_signatures(tmp_path: Path) -> None:
    forged = _message() | {"payload": "another"}
    assert _rules(_write(tmp_path / "a.jsonl", "site", (MESSAGE_SENT, forged))) == {"bad-signature"}
    gibberish: dict[str, object] = {"message": "reply", "key": "no hex"}
    assert _rules(_write(tmp_path / "b.jsonl", "server", (MESSAGE_RECEIVED, gibberish))) == {"bad-signature"}


def test_a_forger_with_a_key_of_his_own_is_told_by_two_keys_or_by_the_wrong_one(tmp_path: Path) -> None:
    forger = make_key()
    statement = Statement(kind=MessageKind.REPLY, run="r1", site_id="leeds", payload="forged")
    forged = message_facts(statement, forger.public, forger.sign(statement), 20)
    mixed = _write(tmp_path / "a.jsonl", "site", (MESSAGE_SENT, _message()), (MESSAGE_SENT, forged))
    assert [(finding.rule, finding.line) for finding in check_log(mixed).findings] == [("two-keys", 2)]
    anew = check_log(_write(tmp_path / "b.jsonl", "site", (MESSAGE_SENT, forged), (MESSAGE_SENT, _message(run="r2"))))
    assert anew.findings == ()  # a key may be replaced between two runs
    assert anew.keys == {"leeds": {forger.public.hex(), KEY.public.hex()}}


def test_an_end_that_is_cut_off_together_with_its_head_is_told_by_the_other_side(tmp_path: Path) -> None:
    replies = [(MESSAGE_SENT, _message(server_round=n)) for n in (1, 2, 3)]
    server = [(MESSAGE_RECEIVED, facts) for _, facts in replies]
    shortened = _pair(tmp_path, replies[:2], server)
    assert shortened == [
        "only the server has: from the site reply of site leeds, run r1, payload a3...: 1 more than the other side"
    ]


def test_a_log_without_its_head_is_not_whole(whole: Path) -> None:
    head_path(whole).unlink()
    assert _rules(whole) == {"no-head"}


def test_a_log_that_is_not_there_is_no_empty_log(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"cannot read the audit log .*none.jsonl: No such file"):
        check_log(tmp_path / "none.jsonl")


def _pair(
    folder: Path, site: list[tuple[str, dict[str, object]]], server: list[tuple[str, dict[str, object]]]
) -> list[str]:
    one = check_log(_write(folder / "site.jsonl", "site", *site))
    other = check_log(_write(folder / "server.jsonl", "server", *server))
    assert differences(one, other) == differences(other, one)
    return differences(one, other)


def test_sides_that_tell_the_same_story_have_no_differences(tmp_path: Path) -> None:
    site = [
        (ORDER_RECEIVED, _order(run="r0")),  # with another server
        (MESSAGE_SENT, _message(run="r0")),
        (ORDER_RECEIVED, _order()),
        (MESSAGE_SENT, _message()),
    ]
    server = [
        (QUESTION_SENT, _order(site_id="")),
        (ORDER_SENT, _order()),
        (ORDER_SENT, _order(site_id="turin")),
        (MESSAGE_RECEIVED, _message(site_id="turin")),
        (MESSAGE_RECEIVED, _message()),
    ]
    assert _pair(tmp_path, site, server) == []


def test_a_refused_message_is_known_to_both_sides(tmp_path: Path) -> None:
    order = (ORDER_SENT, _order())
    refused = (MESSAGE_REFUSED, _message() | {"why": "replayed"})
    assert _pair(tmp_path, [(ORDER_RECEIVED, _order()), (MESSAGE_SENT, _message())], [order, refused]) == []


def test_what_one_side_alone_has_is_named(tmp_path: Path) -> None:
    site = [(ORDER_RECEIVED, _order()), (MESSAGE_SENT, _message()), (MESSAGE_SENT, _message(server_round=2))]
    server = [(ORDER_SENT, _order()), (ORDER_SENT, _order()), (MESSAGE_RECEIVED, _message())]
    on_the_site_only, on_the_server_only = _pair(tmp_path, site, server)
    assert on_the_site_only == (
        "only the site has: from the site reply of site leeds, run r1, payload a2...: 1 more than the other side"
    )
    assert on_the_server_only.startswith("only the server has: to the site train.adapt_target of site leeds, run r1")


def test_logs_that_have_nothing_to_do_with_each_other_are_not_alike(tmp_path: Path) -> None:
    assert _pair(tmp_path, [(ORDER_RECEIVED, _order(run="r0"))], [(ORDER_SENT, _order())]) == [
        "the logs have no run in common"
    ]


def test_two_logs_of_one_side_cannot_be_compared(whole: Path) -> None:
    checked = check_log(whole)
    for other in (checked, replace(checked, sides=frozenset({"site", "server"}))):
        with pytest.raises(AuditError, match="one log of a site and one of a server"):
            differences(checked, other)
