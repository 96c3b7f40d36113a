"""A site's own page: a browser of its scans with what the adapted model found, worst first, with keys for verdicts.

It shows patients' scans and names cases, so it never leaves the site. It is one file that loads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from diffuse_uda.reporting.case_sheets import CaseSheets, as_json, data_address
from diffuse_uda.reporting.palette import structure_colour
from diffuse_uda.reporting.templating import page_script, template_environment


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureLine:
    """One structure of one case; None where a number would have no meaning."""

    label: int
    name: str
    volume_ml: float
    oddness: float | None
    """Of the volume beside the other cases, with its sign."""
    confidence: float | None
    entropy: float | None
    agreement: float | None
    num_islands: int
    dice: float | None = None
    """Only where somebody drew a reference."""
    hd95_mm: float | None = None

    @property
    def colour(self) -> str:
        """As on every page and figure."""
        return structure_colour(self.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseLine:
    """What is known of one case, without its pictures."""

    case_id: str
    suspicion: float
    """In [0, 1], 1 for the worst by every sign: a place in an order, no quality."""
    signs: Mapping[str, float | None]
    """What the order is made of, each the larger the worse."""
    structures: Sequence[StructureLine]
    flags: Sequence[str] = ()
    """Reasons to look, in words."""
    facts: Sequence[str] = ()
    """Of the scan: size, voxels, how it lies."""
    dice: float | None = None
    """Mean over structures, where somebody drew a reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedCase:
    """One case as it stands on a page; the scan itself is not needed any more."""

    line: CaseLine
    small: str
    """Address of the small picture."""
    sheets: Markup
    """JSON for the script, harmless inside of HTML."""

    @property
    def num_bytes(self) -> int:
        """About what it adds to the page."""
        return len(self.small) + len(self.sheets) + 1500 + 400 * len(self.line.structures)


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteReport:
    """What all pages of one report share."""

    title: str
    report: str
    """Its name: follows from the segmentations that are shown, so that a verdict cannot be about others."""
    label_names: Sequence[str]
    """Classes, background first."""
    num_cases: int
    made_by: Sequence[str] = ()
    """Which model, which predictions."""
    left_out: Sequence[tuple[str, str]] = ()
    """Cases that could not be shown, and why."""
    num_scored: int = 0
    correlation: float | None = None
    """Spearman's, of suspicion with Dice over the scored cases."""
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True, kw_only=True, slots=True)
class PagePlace:
    """Which page of the report this is."""

    number: int = 1
    first: int = 1
    """Place of its first case in the whole order, from 1."""
    previous: str = ""
    """File name of the page before; empty on the first."""
    following: str = ""
    """File name of the next page; empty on the last."""


def encode_case(line: CaseLine, sheets: CaseSheets) -> EncodedCase:
    """Bring a case into the form in which a page holds it."""
    return EncodedCase(
        line=line,
        small=data_address(sheets.small, "jpeg"),
        sheets=_harmless(json.dumps(as_json(sheets), separators=(",", ":"))),
    )


def render_site_page(report: SiteReport, cases: Sequence[EncodedCase], place: PagePlace | None = None) -> str:
    """Make one page. The same inputs give the same text.

    Args:
        report: What all pages share.
        cases: Those of this page, worst first.
        place: Which page it is, if there are several.
    """
    script = page_script("site.js")
    facts = {
        "report": report.report,
        "labels": list(report.label_names),
        "colours": [structure_colour(label) for label in range(1, len(report.label_names))],
    }
    return (
        template_environment()
        .get_template("site.html.j2")
        .render(
            report=report,
            cases=cases,
            place=place or PagePlace(),
            signs=list(dict.fromkeys(sign for case in cases for sign in case.line.signs)),
            structures=[
                (label, name, structure_colour(label)) for label, name in enumerate(report.label_names) if label
            ],
            has_scores=any(case.line.dice is not None for case in cases),
            facts=_harmless(json.dumps(facts)),
            script=script,
        )
    )


def _harmless(text: str) -> Markup:
    """JSON that cannot end the element it stands in, whatever a structure is called."""
    escaped = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(escaped)  # noqa: S704 - escaped the line before
