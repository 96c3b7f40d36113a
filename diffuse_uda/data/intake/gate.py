"""A centre's folder from its names to a report: listed, read case by case, compared, judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from diffuse_uda.data.formats.nnunet import CentreFolder, list_centre, without_training_labels
from diffuse_uda.data.intake.case_check import CaseTask, CheckedCase, check_case
from diffuse_uda.data.intake.centre_rules import judge_names, judge_what_is_left, names_by_value
from diffuse_uda.data.intake.cohort_rules import judge_label_maps, judge_scans
from diffuse_uda.data.intake.copies import Copies
from diffuse_uda.data.intake.options import IntakeOptions
from diffuse_uda.data.intake.pool import choose_num_workers, ordered_results
from diffuse_uda.data.intake.report import IntakeReport, grouped_by_case
from diffuse_uda.data.intake.scan_rules import declared_modality
from diffuse_uda.data.rules import Reaction, reaction_to
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.types import SiteRole

Progress = Callable[[str], None]
"""Told in plain words how far the gate has come."""

DEFAULT_OPTIONS = IntakeOptions()
_CASES_PER_LINE = 100


def in_silence(_line: str) -> None:
    """Tell nobody how far the gate has come."""


def check_centre(
    root: Path,
    role: SiteRole,
    *,
    site_id: str,
    label_names: Mapping[int, str] | None = None,
    options: IntakeOptions = DEFAULT_OPTIONS,
    num_workers: int | None = None,
) -> IntakeReport:
    """Check everything a centre brings into a run, and refuse the centre if it cannot take part.

    Args:
        root: The centre's folder, in the nnU-Net v2 layout.
        role: What the centre is in this run: only a source needs, and only a source may use, training labels.
        site_id: Name in messages and reports.
        label_names: The source's classes; a centre with others is refused.
        options: Choices of the site.
        num_workers: Processes; chosen by the number of cases if not given.

    Returns:
        The centre without the cases that are quarantined, with the training labels of a target out of reach.

    Raises:
        InputError: If the centre cannot take part; with every broken rule, those of single cases included.
    """
    report = examine_centre(
        root, role, site_id=site_id, label_names=label_names, options=options, num_workers=num_workers
    )
    if report.refusals:
        raise InputError([*report.refusals, *report.quarantined])  # what stops the run comes first
    return report


def examine_centre(
    root: Path,
    role: SiteRole,
    *,
    site_id: str,
    label_names: Mapping[int, str] | None = None,
    options: IntakeOptions = DEFAULT_OPTIONS,
    num_workers: int | None = None,
    on_progress: Progress = in_silence,
) -> IntakeReport:
    """Check everything a centre brings, and say all of it, whether or not the centre can take part.

    Every file is read once; each worker holds one case at a time, and a few kilobytes of facts are kept of every case.
    Arguments are those of `check_centre`; `on_progress` is told how far it has come.
    """
    on_progress(f"{site_id}: listing files as a {role.value}")
    listing = list_centre(root, site_id, follow_links=options.follow_links)
    offered, num_cases = listing.centre, len(listing.centre.train) + len(listing.centre.test)
    on_progress(f"{site_id}: {len(offered.train)} training and {len(offered.test)} held-out scans")
    findings = [*listing.problems, *listing.warnings, *judge_names(offered, role, label_names)]
    centre = without_training_labels(offered) if role is SiteRole.TARGET else offered
    workers = choose_num_workers(num_cases) if num_workers is None else num_workers
    checked: list[CheckedCase] = []
    copies = Copies()
    for case in ordered_results(check_case, _tasks(centre, options), num_workers=workers):
        findings += case.findings
        if (copy := copies.copied(case)) is not None:
            findings.append(copy.at(centre=site_id, case=case.case_id, file=str(case.image)))
        checked.append(case)
        if any(reaction_to(finding.rule) is Reaction.PAUSE for finding in case.findings):
            break  # nothing can be said about the rest of a disk that is gone
        if len(checked) % _CASES_PER_LINE == 0:
            on_progress(f"{site_id}: {len(checked)} of {num_cases} cases")
    findings += _compared(checked, findings, centre, role)
    admitted = without_quarantined(centre, findings)
    if len(checked) == num_cases:
        findings += judge_what_is_left(offered, admitted, checked, findings, role)
    return IntakeReport(
        centre=admitted, role=role, findings=tuple(findings), cases=tuple(grouped_by_case(checked, findings))
    )


def without_quarantined(centre: CentreFolder, findings: list[Finding]) -> CentreFolder:
    """The cases that nothing takes out."""
    out = {finding.case for finding in findings if reaction_to(finding.rule) is Reaction.CASE}
    return replace(
        centre,
        train=tuple(case for case in centre.train if case.case_id not in out),
        test=tuple(case for case in centre.test if case.case_id not in out),
    )


def _tasks(centre: CentreFolder, options: IntakeOptions) -> Iterator[CaseTask]:
    names, modality = names_by_value(centre), declared_modality(centre.channel_name)
    for is_training, cases in ((True, centre.train), (False, centre.test)):
        for case in cases:
            yield CaseTask(
                site_id=centre.site_id,
                root=centre.root,
                case=case,
                is_training=is_training,
                label_names=names,
                modality=modality,
                options=options,
            )


def _compared(
    checked: list[CheckedCase], findings: list[Finding], centre: CentreFolder, role: SiteRole
) -> Iterator[Finding]:
    """What is odd about a case beside the others; quarantined ones say nothing about what is usual."""
    out = {finding.case for finding in findings if reaction_to(finding.rule) is Reaction.CASE}
    used = [case for case in checked if case.case_id not in out]
    odd = list(judge_scans(used))
    if role is SiteRole.SOURCE:
        odd += judge_label_maps([case for case in used if case.is_training], names_by_value(centre))
    for case, rule in odd:
        yield rule.at(centre=centre.site_id, case=case.case_id, file=str(case.image))
