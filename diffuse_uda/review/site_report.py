"""The site's report: every scan segmented and measured, then page after page, worst first, one case in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffuse_uda.algorithms.metrics import StructureScore, score_case
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.scan_checks import classes_of
from diffuse_uda.data.volumes import load_volume, require_same_grid
from diffuse_uda.errors import ConfigError, DiffuseUdaError, Finding, GeometryError, InputError
from diffuse_uda.reporting.case_sheets import CaseSheets, case_sheets
from diffuse_uda.reporting.site_page import CaseLine, EncodedCase, PagePlace, SiteReport, encode_case, render_site_page
from diffuse_uda.reporting.sprites import SpriteLimits
from diffuse_uda.review.measuring import MeasuredCase, measure
from diffuse_uda.review.ordering import Ordered, put_in_order
from diffuse_uda.review.scans import ReviewScan
from diffuse_uda.training.prediction import LoadedSegmenter

MANIFEST = "report.json"
"""What verdicts are checked against: the report's name, its cases, the sums of their segmentations."""
KIND = "diffuse-uda-site-report"
SCHEMA = 1
NSD_TOLERANCE_MM = 2.0
OBLIQUE_DEGREES = 5.0
"""From here on a page says that a scan lies aslant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewPlan:
    """What to report on, and how large it may get."""

    title: str
    scans: Sequence[ReviewScan]
    label_names: Sequence[str]
    """Classes, background first."""
    out: Path
    made_by: Sequence[str] = ()
    max_page_bytes: int = 40_000_000
    limits: SpriteLimits = field(default_factory=SpriteLimits)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenReport:
    """What there is to look at."""

    pages: tuple[Path, ...]
    num_cases: int
    left_out: tuple[tuple[str, str], ...]


def write_site_report(
    plan: ReviewPlan,
    segmenter: LoadedSegmenter | None,
    *,
    model_sha256: str = "",
    say: Callable[[str], None] = lambda _line: None,
) -> WrittenReport:
    """Write `report.html` and, if one page gets too large, `report-2.html` and so on, and `report.json`.

    A case that cannot be used is left out, with the reason on the page; the others go on.

    Args:
        plan: What to report on.
        segmenter: Segments what has no prediction.
        model_sha256: Of its weights.
        say: Told what happens, a line a case.

    Raises:
        ConfigError: If the folder is not one for a report, or a single case does not fit into a page.
        InputError: If no case at all can be used.
    """
    open_folder(plan)
    measured, findings = _measure_all(plan, segmenter, model_sha256, say)
    if not measured:
        raise InputError(findings)
    left_out = tuple((finding.case, _in_one_line(finding)) for finding in findings)
    scores = {case.scan.case_id: scored for case in measured if (scored := _scores(case, plan.label_names))}
    ordered = put_in_order(measured, plan.label_names, scores)
    report = SiteReport(
        title=plan.title,
        report=_name_of(measured),
        label_names=plan.label_names,
        num_cases=len(measured),
        made_by=plan.made_by,
        left_out=left_out,
        num_scored=ordered.num_scored,
        correlation=ordered.correlation,
    )
    pages = _write_pages(plan, report, ordered, {case.scan.case_id: case for case in measured}, say)
    _write_manifest(plan, report, ordered, measured, pages)
    return WrittenReport(pages=tuple(pages), num_cases=len(measured), left_out=left_out)


def open_folder(plan: ReviewPlan) -> None:
    """Make the report's folder, private to this account, unless it is somebody else's or inside of the scans'.

    Raises:
        ConfigError: With what is there and what to do.
    """
    out = plan.out.resolve()
    for folder in {scan.image.resolve().parent for scan in plan.scans}:
        if out == folder:
            msg = f"the report would be written among the scans in {folder}; choose another --out"
            raise ConfigError(msg)
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).exists() and not (out / "measures").is_dir():
        msg = (
            f"{out} is not empty and holds no {MANIFEST}: nobody's files are mixed with a report; choose another --out"
        )
        raise ConfigError(msg)
    for folder in (out, out / "predictions", out / "measures"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _measure_all(
    plan: ReviewPlan, segmenter: LoadedSegmenter | None, model_sha256: str, say: Callable[[str], None]
) -> tuple[list[MeasuredCase], list[Finding]]:
    measured, findings = [], []
    for number, scan in enumerate(plan.scans, start=1):
        said = f"{number} of {len(plan.scans)}: {scan.case_id}"
        try:
            measured.append(measure(scan, len(plan.label_names), plan.out, segmenter, model_sha256=model_sha256))
        except (BrokenRuleError, GeometryError) as error:
            rule = error if isinstance(error, BrokenRuleError) else _other_grid(error)
            findings.append(rule.at(centre="-", case=scan.case_id, file=scan.image.name))
            said += f" is left out: {_in_one_line(findings[-1])}"
        say(said)
    return measured, findings


def _other_grid(error: GeometryError) -> BrokenRuleError:
    return BrokenRuleError(
        "grids-differ",
        found=str(error),
        wanted="the segmentation on the scan's own grid",
        fix="resample it in the tool that made it, or let the model make a new one",
    )


def _in_one_line(finding: Finding) -> str:
    return f"[{finding.rule}] found: {finding.found}; wanted: {finding.wanted}; fix: {finding.fix}"


def _scores(case: MeasuredCase, label_names: Sequence[str]) -> dict[str, StructureScore]:
    if case.scan.reference is None:
        return {}
    try:
        prediction, reference = load_volume(case.prediction), load_volume(case.scan.reference)
        require_same_grid(prediction, reference)
        drawn = classes_of(reference.voxels)
    except DiffuseUdaError:
        return {}  # a reference that cannot be used gives no score; the case is shown all the same
    labels = dict(enumerate(label_names))
    labels.pop(0)
    return score_case(prediction.voxels, drawn, labels, prediction.spacing_mm, tolerance_mm=NSD_TOLERANCE_MM)


def _name_of(measured: Sequence[MeasuredCase]) -> str:
    """Follows from what is shown: the same segmentations give the same report, so that verdicts outlive a new page."""
    sums = sorted((case.scan.case_id, case.prediction_sha256) for case in measured)
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()[:16]


def _write_pages(
    plan: ReviewPlan,
    report: SiteReport,
    ordered: Ordered,
    measured: Mapping[str, MeasuredCase],
    say: Callable[[str], None],
) -> list[Path]:
    pages: list[Path] = []
    first = 1
    for cases, is_last in _paged(_encoded(plan, ordered, measured), plan.max_page_bytes):
        number = len(pages) + 1
        place = PagePlace(
            number=number,
            first=first,
            previous="" if number == 1 else page_name(number - 1),
            following="" if is_last else page_name(number + 1),
        )
        path = plan.out / page_name(number)
        with replaced_atomically(path, mode=0o600) as draft:
            draft.write_text(render_site_page(report, cases, place), encoding="utf-8")
        say(f"{path}: {len(cases)} cases, {path.stat().st_size / 1e6:.1f} MB")
        pages.append(path)
        first += len(cases)
    for stale in plan.out.glob("report-*.html"):  # of an earlier report with more pages
        if stale not in pages:
            stale.unlink()
    return pages


def page_name(number: int) -> str:
    """File name of a page, from 1."""
    return "report.html" if number == 1 else f"report-{number}.html"


def _encoded(plan: ReviewPlan, ordered: Ordered, measured: Mapping[str, MeasuredCase]) -> Iterator[EncodedCase]:
    for line in ordered.lines:
        case = measured[line.case_id]
        image, found = load_volume(case.scan.image), load_volume(case.prediction)
        drawn = None
        if line.dice is not None and case.scan.reference is not None:
            drawn = classes_of(load_volume(case.scan.reference).voxels).astype(np.uint8)
        sheets = case_sheets(image, classes_of(found.voxels).astype(np.uint8), drawn, limits=plan.limits)
        encoded = encode_case(replace(line, facts=_facts(sheets)), sheets)
        if encoded.num_bytes > plan.max_page_bytes:
            msg = (
                f"case {line.case_id} alone takes {encoded.num_bytes / 1e6:.1f} MB of a page that may have "
                f"{plan.max_page_bytes / 1e6:.1f} MB; raise --max-mb, or show fewer slices with --slices"
            )
            raise ConfigError(msg)
        yield encoded


def _paged(cases: Iterator[EncodedCase], max_bytes: int) -> Iterator[tuple[list[EncodedCase], bool]]:
    """Fill pages one after the other; only one page is in memory."""
    page: list[EncodedCase] = []
    for case in cases:
        if page and sum(held.num_bytes for held in page) + case.num_bytes > max_bytes:
            yield page, False
            page = []
        page.append(case)
    yield page, True


def _facts(sheets: CaseSheets) -> tuple[str, ...]:
    spacing = " x ".join(f"{step:.3g}" for step in sheets.spacing_mm)
    facts = [
        f"{' x '.join(map(str, sheets.shape))} voxels of {spacing} mm (right-left, front-back, up-down)",
        f"stored as {sheets.orientation}",
    ]
    if sheets.oblique_degrees >= OBLIQUE_DEGREES:
        facts.append(
            f"lies aslant by {sheets.oblique_degrees:.0f} degrees: letters are those of the nearest directions"
        )
    steps = {plane.plane.value: _step(plane.slices) for plane in sheets.planes}
    if max(steps.values()) > 1:
        said = ", ".join(f"{step}. of {plane}" for plane, step in steps.items())
        facts.append(f"shown is every {said} slices")
    return tuple(facts)


def _step(slices: Sequence[int]) -> int:
    return slices[1] - slices[0] if len(slices) > 1 else 1


def _write_manifest(
    plan: ReviewPlan, report: SiteReport, ordered: Ordered, measured: Sequence[MeasuredCase], pages: Sequence[Path]
) -> None:
    by_name = {case.scan.case_id: case for case in measured}
    content: dict[str, Any] = {
        "kind": KIND,
        "schema": SCHEMA,
        "report": report.report,
        "title": report.title,
        "pages": [page.name for page in pages],
        "label_names": list(plan.label_names),
        "made_by": list(plan.made_by),
        "rank_correlation_with_dice": ordered.correlation,
        "cases": {line.case_id: _case_facts(line, by_name[line.case_id], plan.out) for line in ordered.lines},
        "left_out": dict(report.left_out),
    }
    with replaced_atomically(plan.out / MANIFEST, mode=0o600) as draft:
        draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _case_facts(line: CaseLine, case: MeasuredCase, out: Path) -> dict[str, Any]:
    path = case.prediction.resolve()
    inside = path.is_relative_to(out.resolve())
    return {
        "prediction": str(path.relative_to(out.resolve()) if inside else path),
        "sha256": case.prediction_sha256,
        "suspicion": round(line.suspicion, 4),
        "signs": dict(line.signs),
        "flags": list(line.flags),
        "dice": line.dice,
        "structures": {row.name: _without_name(asdict(row)) for row in line.structures},
    }


def _without_name(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "name"}
