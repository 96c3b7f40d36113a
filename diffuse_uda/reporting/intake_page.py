"""The page of the intake gate: what was found at one centre, with a small picture of every case, flagged ones first."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.intake import CaseReport, IntakeReport, Verdict
from diffuse_uda.data.rules import RULES, reaction_to
from diffuse_uda.errors import Finding

MAX_PICTURES = 5000
"""About ten kilobytes each; more and no browser opens the page. Flagged cases come first, the rest is counted."""
_ORDER = (Verdict.QUARANTINED, Verdict.LOOK, Verdict.FINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownFinding:
    """A finding with the row of the table it refers to."""

    code: str
    rule: str
    reaction: str
    case: str
    file: str
    found: str
    wanted: str
    fix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownCase:
    """A case as the page shows it."""

    case_id: str
    part: str
    verdict: str
    facts: str
    picture: str
    """A `data:` address; empty where the scan could not be drawn."""
    findings: Sequence[ShownFinding]


def shown(finding: Finding) -> ShownFinding:
    """Join a finding with its row of the table."""
    rule = RULES.get(finding.rule)
    return ShownFinding(
        code="-" if rule is None else rule.code,
        rule=finding.rule,
        reaction=reaction_to(finding.rule).value,
        case=finding.case,
        file=finding.file,
        found=finding.found,
        wanted=finding.wanted,
        fix=finding.fix,
    )


def render_intake(report: IntakeReport) -> str:
    """Make the page; it loads nothing, and names cases, so it is for this site alone.

    Args:
        report: Of a gate that was asked for pictures.
    """
    environment = Environment(
        loader=PackageLoader("diffuse_uda.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ordered = sorted(report.cases, key=lambda case: _ORDER.index(case.verdict))
    of_cases = {case.checked.case_id for case in report.cases}
    return environment.get_template("intake.html.j2").render(
        site_id=report.centre.site_id,
        role=report.role.value,
        verdict=report.verdict.value,
        counts=Counter(case.verdict.value for case in report.cases),
        num_cases=len(report.cases),
        num_hidden=max(0, len(ordered) - MAX_PICTURES),
        of_centre=[shown(finding) for finding in report.findings if finding.case not in of_cases],
        cases=[_shown_case(case) for case in ordered[:MAX_PICTURES]],
    )


def write_intake_page(path: Path, report: IntakeReport) -> None:
    """Write the page; the whole file appears at once or not at all, readable by this account alone."""
    with replaced_atomically(path, mode=0o600) as draft:
        draft.write_text(render_intake(report), encoding="utf-8")


def _shown_case(case: CaseReport) -> ShownCase:
    scan, picture = case.checked.scan, case.checked.picture
    facts = "could not be used"
    if scan is not None:
        size, spacing = (" x ".join(f"{number:.3g}" for number in numbers) for numbers in (scan.shape, scan.spacing_mm))
        facts = (
            f"{size} voxels of {spacing} mm, {scan.orientation}, {scan.stored_as}, {scan.lowest:g} to {scan.highest:g}"
        )
    return ShownCase(
        case_id=case.checked.case_id,
        part="training" if case.checked.is_training else "held out",
        verdict=case.verdict.value,
        facts=facts,
        picture="" if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        findings=[shown(finding) for finding in case.findings],
    )
