"""Whether an audit log is whole, and whether two sides tell the same story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffuse_uda.errors import AuditError
from diffuse_uda.exchange.audit import GENESIS, hash_of, parsed, read_head
from diffuse_uda.exchange.audit_entries import (
    MESSAGE_RECEIVED,
    MESSAGE_REFUSED,
    MESSAGE_SENT,
    ORDER_RECEIVED,
    ORDER_SENT,
)
from diffuse_uda.exchange.signing import MessageKind, Statement, is_signed_by

Message = tuple[str, ...]
"""A message as both sides know it: direction, run, site, kind, hash of what it says, signature."""

_TO_THE_SITE = frozenset({ORDER_SENT, ORDER_RECEIVED})
_FROM_THE_SITE = frozenset({MESSAGE_SENT, MESSAGE_RECEIVED, MESSAGE_REFUSED})
"""A message that the server refused came all the same; one that the site never sent stands out there."""
_TAKEN = frozenset({MESSAGE_SENT, MESSAGE_RECEIVED})
_TWO_KEYS = "signed with another key than messages of this site and run before it"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFinding:
    """Something wrong with a log."""

    line: int
    """Line of the file, from 1; 0 where it is about the whole log."""
    rule: str
    found: str

    def __str__(self) -> str:
        """One line for a reader."""
        place = f"line {self.line}: " if self.line else ""
        return f"{place}[{self.rule}] {self.found}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedLog:
    """A log, read once."""

    num_entries: int
    findings: tuple[AuditFinding, ...]
    sides: frozenset[str]
    """`site`, `server`: who wrote it."""
    runs: frozenset[str]
    sites: frozenset[str]
    messages: Mapping[Message, int]
    """Messages that crossed the wall, with how often."""
    keys: Mapping[str, frozenset[str]]
    """Public keys (hex) that messages of a site are signed with, by site: whoever writes a whole log anew can sign it
    with a key of his own, so a person compares them with the site's."""


def check_log(path: Path) -> CheckedLog:
    """Read a log and find every line that is changed, removed, inserted, out of order, or cut off at the end.

    Raises:
        AuditError: If there is no such file.
    """
    findings: list[AuditFinding] = []
    messages: Counter[Message] = Counter()
    seen: dict[str, set[str]] = {"side": set(), "run": set(), "site": set()}
    keys: dict[tuple[str, str], set[str]] = {}
    number, previous, expected = 0, GENESIS, 1
    for number, line in _lines(path):
        entry = parsed(line)
        if entry is None:
            findings.append(AuditFinding(line=number, rule="no-entry", found="not a line that this program writes"))
            continue
        findings += [
            AuditFinding(line=number, rule=rule, found=found) for rule, found in _problems(entry, previous, expected)
        ]
        # What follows is compared with this line, so that one wrong line is one finding and not all the rest.
        previous, expected = str(entry.get("hash")), _number(entry, expected) + 1
        for key, values in seen.items():
            values.add(str(entry.get(key, "")))
        if entry.get("event") in _TO_THE_SITE | _FROM_THE_SITE:
            messages[_message(entry)] += 1
        if entry.get("event") in _TAKEN:
            signers = keys.setdefault((str(entry.get("run")), str(entry.get("site"))), set())
            if signers and entry.get("key") not in signers:
                findings.append(AuditFinding(line=number, rule="two-keys", found=_TWO_KEYS))
            signers.add(str(entry.get("key")))
    findings += _head_problems(path, number, previous)
    return CheckedLog(
        num_entries=number,
        findings=tuple(findings),
        sides=frozenset(seen["side"]),
        runs=frozenset(seen["run"] - {""}),
        sites=frozenset(seen["site"] - {""}),
        messages=messages,
        keys={
            site: frozenset[str]().union(*(signers for (_, named), signers in keys.items() if named == site))
            for site in sorted({site for _, site in keys})
        },
    )


def differences(one: CheckedLog, other: CheckedLog) -> list[str]:
    """Messages that one side has and the other has not, for the runs and sites that both could know.

    A site's log knows all its runs, with whichever server; a server's log knows all sites of its own runs.

    Raises:
        AuditError: If the logs are not one of a site and one of a server.
    """
    if one.sides | other.sides != {"site", "server"} or len(one.sides) != 1 or len(other.sides) != 1:
        msg = f"one log of a site and one of a server are compared; found {sorted(one.sides)} and {sorted(other.sides)}"
        raise AuditError(msg)
    site, server = (one, other) if one.sides == {"site"} else (other, one)
    if not site.runs & server.runs:
        return ["the logs have no run in common"]
    ours = Counter({message: count for message, count in site.messages.items() if message[1] in server.runs})
    theirs = Counter({message: count for message, count in server.messages.items() if message[2] in site.sites})
    return [
        f"{who}: {message[0]} {message[3]} of site {message[2]}, run {message[1]}, payload {message[4][:16]}...: "
        f"{count} more than the other side"
        for who, more in (("only the site has", ours - theirs), ("only the server has", theirs - ours))
        for message, count in sorted(more.items())
    ]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file, start=1)
    except OSError as error:
        msg = f"cannot read the audit log {path}: {error.strerror}"
        raise AuditError(msg) from error


def _problems(entry: Mapping[str, Any], previous: str, expected: int) -> Iterator[tuple[str, str]]:
    if entry.get("hash") != hash_of(entry):
        yield "changed", "its hash does not fit what it says"
    if entry.get("prev") != previous or entry.get("n") != expected:
        words = (
            f"it is number {entry.get('n')} and does not follow the line before it (wanted number {expected}): lines "
            "were removed, inserted, changed or moved here"
        )
        yield "broken-chain", words
    if entry.get("event") in _TAKEN and not _is_signed(entry):
        yield "bad-signature", "the signature in it is not one of what it says"


def _is_signed(entry: Mapping[str, Any]) -> bool:
    try:
        statement = Statement(
            kind=MessageKind(entry["message"]),
            run=entry["run"],
            site_id=entry["site"],
            phase=entry["phase"],
            server_round=entry["round"],
            base=entry["base"],
            payload=entry["payload"],
        )
        return is_signed_by(bytes.fromhex(entry["key"]), bytes.fromhex(entry["signature"]), statement)
    except (KeyError, TypeError, ValueError):
        return False


def _number(entry: Mapping[str, Any], otherwise: int) -> int:
    number = entry.get("n")
    return number if isinstance(number, int) else otherwise


def _message(entry: Mapping[str, Any]) -> Message:
    direction = "to the site" if entry["event"] in _TO_THE_SITE else "from the site"
    return (direction, *(str(entry.get(key, "")) for key in ("run", "site", "message", "payload", "signature")))


def _head_problems(path: Path, number: int, last: str) -> Iterator[AuditFinding]:
    try:
        head = read_head(path)
    except AuditError as error:
        yield AuditFinding(line=0, rule="no-head", found=str(error))
        return
    if head.entries > number:
        yield AuditFinding(line=0, rule="cut-off", found=f"{number} lines, its head says {head.entries}")
    elif head.entries < number:
        found = f"{number} lines, its head says {head.entries}: an interrupted program, or lines from elsewhere"
        yield AuditFinding(line=0, rule="past-the-head", found=found)
    elif number and head.hash != last:
        yield AuditFinding(line=number, rule="changed", found="the last line is not the one its head speaks of")
