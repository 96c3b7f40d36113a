"""One line of the doctor's page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is, mildest first."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a secret
    WARN = "WARN"
    """A run can start; somebody should look before it is long."""
    FAIL = "FAIL"
    """A run would fail, or would not be safe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one check found."""

    check: str
    status: Status
    found: str
    """Never a path below a folder that the user gave, never an exception's own words."""
    wanted: str
    fix: str = ""
    """What to do; empty if nothing has to be done."""


def passed(check: str, found: str, wanted: str) -> Verdict:
    """A check that is content."""
    return Verdict(check=check, status=Status.PASS, found=found, wanted=wanted)


def warned(check: str, found: str, wanted: str, fix: str) -> Verdict:
    """A check that a person should look at."""
    return Verdict(check=check, status=Status.WARN, found=found, wanted=wanted, fix=fix)


def failed(check: str, found: str, wanted: str, fix: str) -> Verdict:
    """A check that stops a run."""
    return Verdict(check=check, status=Status.FAIL, found=found, wanted=wanted, fix=fix)


def overall(verdicts: Iterable[Verdict]) -> Status:
    """The worst status; PASS if nothing was checked."""
    found = {verdict.status for verdict in verdicts}
    return next((status for status in reversed(Status) if status in found), Status.PASS)
