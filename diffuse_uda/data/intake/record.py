"""What a site keeps of its gate's last word: who is in, who is out and why, how every file that is in looked then."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CentreFolder, read_centre, without_training_labels
from diffuse_uda.data.intake.case_check import FileStamp, file_stamp
from diffuse_uda.data.intake.options import IntakeOptions
from diffuse_uda.data.intake.report import IntakeReport
from diffuse_uda.errors import InputError
from diffuse_uda.types import SiteRole

FORM = 1
"""Of the file; another one is made anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeRecord:
    """The gate's last word on one centre."""

    root: str
    role: SiteRole
    cases: frozenset[str]
    """Ids that may be used."""
    stamps: Mapping[str, FileStamp]
    """By path, of all files of these cases."""


def write_record(path: Path, report: IntakeReport, told: Callable[[str], str]) -> None:
    """Keep a report of a centre that may take part; for this account alone.

    Args:
        path: Where to; the folder must exist.
        report: What the gate said.
        told: The name under which the site speaks of a case outside, so that it finds the case again.
    """
    used = {case.case_id for case in (*report.centre.train, *report.centre.test)}
    content = {
        "form": FORM,
        "root": str(report.centre.root),
        "role": report.role.value,
        "num_training": len(report.centre.train),
        "num_held_out": len(report.centre.test),
        "num_quarantined": len(report.quarantined_cases),
        "quarantined": [
            {"case": finding.case, "told": told(finding.case), "rule": finding.rule, "found": finding.found}
            for finding in report.quarantined
        ],
        "warnings": [
            {"case": warning.case, "rule": warning.rule, "found": warning.found} for warning in report.warnings
        ],
        "cases": sorted(used),
        "stamps": {
            str(file): list(stamp)
            for case in report.cases
            if case.checked.case_id in used
            for file, stamp in (case.checked.stamps or {}).items()
        },
    }
    with replaced_atomically(path, mode=0o600) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(path: Path) -> IntakeRecord | None:
    """What was kept; None if nothing was, or nothing that can be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["form"] != FORM:
            return None
        return IntakeRecord(
            root=content["root"],
            role=SiteRole(content["role"]),
            cases=frozenset(content["cases"]),
            stamps={file: (size, time_ns) for file, (size, time_ns) in content["stamps"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def admitted_centre(record: IntakeRecord, site_id: str, options: IntakeOptions) -> CentreFolder:
    """The centre as the gate let it in, if it still is what it was.

    Files that came later are nobody's cases until the gate is run again.

    Args:
        record: The gate's last word.
        site_id: Name in messages.
        options: Choices of the site.

    Raises:
        InputError: `changed-during-run` with every file that is not what passed the gate.
    """
    centre = read_centre(Path(record.root), site_id, follow_links=options.follow_links)
    if record.role is SiteRole.TARGET:
        centre = without_training_labels(centre)
    centre = replace(
        centre,
        train=tuple(case for case in centre.train if case.case_id in record.cases),
        test=tuple(case for case in centre.test if case.case_id in record.cases),
    )
    changed = [file for file, stamp in record.stamps.items() if file_stamp(Path(file)) != stamp]
    if changed:
        rule = BrokenRuleError(
            "changed-during-run", found="another size or time of change than at the gate, or no file"
        )
        raise InputError([rule.at(centre=site_id, file=file) for file in changed])
    return centre
