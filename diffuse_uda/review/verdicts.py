"""Verdicts that somebody gave on a site's page, read back and checked like any other input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.review.measuring import sha256_of
from diffuse_uda.review.site_report import KIND as REPORT_KIND
from diffuse_uda.review.site_report import MANIFEST
from diffuse_uda.review.site_report import SCHEMA as REPORT_SCHEMA

KIND = "diffuse-uda-verdicts"
SCHEMA = 1
MAX_BYTES = 20_000_000
"""A file with a verdict on every one of 10^5 cases is smaller."""

_KEYS = {"kind", "schema", "report", "saved", "verdicts"}
_VERDICT_KEYS = {"case", "verdict", "at"}
_SHOWN = 60
"""Characters of a foreign text that a message repeats."""


class Choice(StrEnum):
    """What somebody says about a segmentation."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One case's."""

    case_id: str
    choice: Choice
    at: datetime
    """When, with its zone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """A file of verdicts that fits a report."""

    report: str
    given: tuple[Verdict, ...]
    """In the report's order, worst first."""
    open: tuple[str, ...]
    """Cases that nobody has judged."""

    def of(self, choice: Choice) -> list[str]:
        """Cases with a verdict, in the report's order."""
        return [verdict.case_id for verdict in self.given if verdict.choice is choice]


def read_verdicts(file: Path, folder: Path) -> Verdicts:
    """Read verdicts and check them against the report they are about.

    Args:
        file: As the page saved it.
        folder: Where the report lies.

    Raises:
        InputError: With everything that is wrong: no such form, another report, unknown cases, a case with two
            verdicts, or a segmentation that is another one than was looked at.
    """
    manifest = _read(folder / MANIFEST, "report-file", fix="name the report's folder with --report", max_bytes=None)
    if manifest.get("kind") != REPORT_KIND or manifest.get("schema") != REPORT_SCHEMA:
        raise _refusal(
            folder / MANIFEST,
            BrokenRuleError(
                "report-file",
                found=f"kind {_short(manifest.get('kind'))}, schema {_short(manifest.get('schema'))}",
                wanted=f"kind '{REPORT_KIND}', schema {REPORT_SCHEMA}",
                fix="name the folder of a report of this version",
            ),
        )
    said = _read(file, "verdicts-file", fix="take the file that the page saved, as it is", max_bytes=MAX_BYTES)
    broken = _form_problems(said) or _content_problems(said, manifest, folder)
    if broken:
        raise InputError([rule.at(centre="-", case=case, file=str(file)) for case, rule in broken])
    by_case = {entry["case"]: entry for entry in said["verdicts"]}
    return Verdicts(
        report=said["report"],
        given=tuple(
            Verdict(
                case_id=case_id,
                choice=Choice(by_case[case_id]["verdict"]),
                at=datetime.fromisoformat(by_case[case_id]["at"]),
            )
            for case_id in manifest["cases"]
            if case_id in by_case
        ),
        open=tuple(case_id for case_id in manifest["cases"] if case_id not in by_case),
    )


def write_accepted(path: Path, verdicts: Verdicts) -> None:
    """Write the accepted cases, one a line, sorted: a list that other tools read. It names cases, so it stays here."""
    with replaced_atomically(path, mode=0o600) as draft:
        draft.write_text("".join(f"{case_id}\n" for case_id in sorted(verdicts.of(Choice.ACCEPT))), encoding="utf-8")


def _read(file: Path, rule: str, *, fix: str, max_bytes: int | None) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        if max_bytes is not None and size > max_bytes:
            raise _refusal(
                file, BrokenRuleError(rule, found=f"{size:,} bytes", wanted=f"at most {max_bytes:,}", fix=fix)
            )
        content = json.loads(file.read_bytes())
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise _refusal(file, BrokenRuleError(rule, found=found, wanted="a readable file", fix=fix)) from error
    except (ValueError, RecursionError) as error:
        found = f"no JSON ({type(error).__name__})"
        raise _refusal(file, BrokenRuleError(rule, found=found, wanted="a JSON object", fix=fix)) from error
    if not isinstance(content, dict):
        found = f"a JSON {type(content).__name__}"
        raise _refusal(file, BrokenRuleError(rule, found=found, wanted="a JSON object", fix=fix))
    return content


_Problems = list[tuple[str, BrokenRuleError]]


def _form_problems(said: Mapping[str, Any]) -> _Problems:
    broken: _Problems = []
    if said.get("kind") != KIND or said.get("schema") != SCHEMA:
        found = f"kind {_short(said.get('kind'))}, schema {_short(said.get('schema'))}"
        broken.append(("-", _rule(found, f"kind '{KIND}', schema {SCHEMA}")))
        return broken
    if said.keys() != _KEYS:
        broken.append(("-", _rule(f"keys {_short(sorted(said))}", f"the keys {sorted(_KEYS)}")))
        return broken
    if not isinstance(said["report"], str) or not isinstance(said["verdicts"], list):
        broken.append(("-", _rule("no text as report, or no list of verdicts", "both as the page wrote them")))
        return broken
    for number, entry in enumerate(said["verdicts"], start=1):
        if problem := _entry_problem(entry):
            broken.append((f"verdict {number}", _rule(problem, "case, verdict (accept or reject) and time")))
    return broken


def _entry_problem(entry: object) -> str:
    if not isinstance(entry, dict) or entry.keys() != _VERDICT_KEYS:
        return f"{_short(entry)}"
    if not all(isinstance(value, str) for value in entry.values()):
        return "a value that is no text"
    if entry["verdict"] not in set(Choice):
        return f"verdict {_short(entry['verdict'])}"
    try:
        at = datetime.fromisoformat(entry["at"])
    except ValueError:
        return f"time {_short(entry['at'])}"
    return "" if at.tzinfo is not None else f"time {_short(entry['at'])} without a zone"


def _content_problems(said: Mapping[str, Any], manifest: Mapping[str, Any], folder: Path) -> _Problems:
    broken: _Problems = []
    if said["report"] != manifest["report"]:
        rule = BrokenRuleError(
            "other-report",
            found=f"verdicts about report {_short(said['report'])}",
            wanted=f"about {manifest['report']}, the one in {folder}",
            fix="name the folder of the report that was looked at, or look at this one",
        )
        return [("-", rule)]
    cases: Sequence[str] = [entry["case"] for entry in said["verdicts"]]
    known = manifest["cases"]
    for case_id in dict.fromkeys(cases):
        if case_id not in known:
            broken.append(
                (_short(case_id), _rule("a verdict on a case that the report doesn't have", "its cases only"))
            )
        elif cases.count(case_id) > 1:
            broken.append((case_id, _rule(f"{cases.count(case_id)} verdicts", "one a case")))
        elif problem := _changed(folder, known[case_id]):
            broken.append((case_id, problem))
    return broken


def _changed(folder: Path, facts: Mapping[str, Any]) -> BrokenRuleError | None:
    """A verdict is about bytes that somebody has looked at, not about whatever has that name now."""
    prediction = folder / facts["prediction"]
    try:
        found = sha256_of(prediction)
    except OSError as error:
        found = error.strerror or type(error).__name__
    if found == facts["sha256"]:
        return None
    return BrokenRuleError(
        "segmentation-changed",
        found=f"{prediction.name}: {found[:16]}",
        wanted=f"the segmentation that was looked at, {facts['sha256'][:16]}",
        fix="make the report again and look at the case again",
    )


def _rule(found: str, wanted: str) -> BrokenRuleError:
    return BrokenRuleError(
        "verdicts-file", found=found, wanted=wanted, fix="save the verdicts on the page again, and change nothing"
    )


def _refusal(file: Path, rule: BrokenRuleError) -> InputError:
    finding: Finding = rule.at(centre="-", file=str(file))
    return InputError([finding])


def _short(value: object) -> str:
    """A foreign value as a message may repeat it: short, and without anything that moves a terminal's cursor."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
