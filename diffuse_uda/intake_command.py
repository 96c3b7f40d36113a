"""Verbs of the intake gate. What takes long to import is imported when it is needed: a first line comes at once."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from diffuse_uda.command_line import EXIT_LOOK, EXIT_REFUSED
from diffuse_uda.errors import DiffuseUdaError
from diffuse_uda.types import SiteRole

if TYPE_CHECKING:
    from diffuse_uda.data.intake import IntakeReport
    from diffuse_uda.data.intake.corrections import Change, Choices

_STYLES = {"RUN": "bold red", "PAUSE": "bold red", "CASE": "red", "WARN": "yellow", "NOTE": "dim"}


def check(  # noqa: PLR0917 - a verb and its options
    folder: Annotated[Path, typer.Argument(help="A centre's folder in the nnU-Net layout.")],
    role: Annotated[SiteRole, typer.Option(help="What the centre will be.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one for every hundred cases.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="Write a page with a picture of every case.")
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a corrected copy of the folder to OUT, with a log.")
    ] = None,
    assume_spacing: Annotated[
        str | None, typer.Option(metavar="I,J,K", help="With --fix: spacing in mm for files without an affine.")
    ] = None,
    volume: Annotated[int | None, typer.Option(min=0, help="With --fix: which volume of a series to keep.")] = None,
    *,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Links may lead out of the folder.")] = False,
    demand_foreground: Annotated[
        bool, typer.Option("--demand-foreground", help="Quarantine training cases without any structure.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Let a centre's folder through the intake gate, and say everything that is wrong with it.

    Exit code 0: everything is fine. 6: a run would go on, but look (quarantined cases, warnings). 2: refused.
    """
    progress = Console(stderr=True, highlight=False)
    progress.print(f"checking {folder} as a {role.value}", markup=False)
    choices = _choices(fix, assume_spacing, volume)
    from diffuse_uda.data.intake import IntakeOptions, examine_centre  # noqa: PLC0415 - after the first line

    site_id = folder.resolve().name
    if html is not None:
        _require_outside(html, folder, site_id)
    report = examine_centre(
        folder,
        role,
        site_id=site_id,
        options=IntakeOptions(
            follow_links=follow_links, demands_foreground=demand_foreground, with_pictures=html is not None
        ),
        num_workers=workers,
        on_progress=lambda line: progress.print(line, markup=False),
    )
    if html is not None:
        from diffuse_uda.reporting.intake_page import write_intake_page  # noqa: PLC0415 - only with a page

        write_intake_page(html, report)
        progress.print(f"page: {html}", markup=False)
    if fix is not None:
        from diffuse_uda.data.intake.fixes import write_corrected  # noqa: PLC0415 - only with --fix

        changes = write_corrected(report, fix, choices)
        _print_changes(progress, changes, fix)
    if as_json:
        typer.echo(json.dumps(as_plain(report), indent=1))
    else:
        _print_report(report)
    if report.verdict.value != "fine":
        raise typer.Exit(EXIT_REFUSED if report.refusals else EXIT_LOOK)


def rules() -> None:
    """Print the table of the gate's rules as a page in Markdown."""
    from diffuse_uda.data.rules.page import rules_page  # noqa: PLC0415 - nobody else needs it

    sys.stdout.write(rules_page())


def as_plain(report: IntakeReport) -> dict[str, Any]:
    """A report as JSON: it names cases, so it is for the site alone."""
    from diffuse_uda.reporting.intake_page import shown  # noqa: PLC0415 - only with --json

    return {
        "centre": report.centre.site_id,
        "role": report.role.value,
        "verdict": report.verdict.value,
        "num_training": len(report.centre.train),
        "num_held_out": len(report.centre.test),
        "quarantined": list(report.quarantined_cases),
        "findings": [asdict(shown(finding)) for finding in report.findings],
        "cases": [
            {
                "case": case.checked.case_id,
                "part": "training" if case.checked.is_training else "held-out",
                "verdict": case.verdict.value,
                "scan": _facts(case.checked.scan),
                "labels": _facts(case.checked.labels),
            }
            for case in report.cases
        ],
    }


def _facts(facts: Any) -> dict[str, Any] | None:  # noqa: ANN401 - facts of scans and of label maps
    if facts is None:
        return None
    return {key: value for key, value in asdict(facts).items() if not isinstance(value, bytes)}


def _choices(fix: Path | None, assume_spacing: str | None, volume: int | None) -> Choices:
    from diffuse_uda.data.intake.corrections import Choices  # noqa: PLC0415 - loads what corrections need

    if fix is None and (assume_spacing is not None or volume is not None):
        msg = "--assume-spacing and --volume say how to correct files: give --fix OUT as well"
        raise typer.BadParameter(msg)
    if assume_spacing is None:
        return Choices(volume_index=volume)
    try:
        i, j, k = (float(number) for number in assume_spacing.split(","))
    except ValueError:
        i = j = k = 0.0
    if not min(i, j, k) > 0:
        msg = f"--assume-spacing {assume_spacing!r}: wanted three lengths in mm, such as 0.8,0.8,3"
        raise typer.BadParameter(msg)
    return Choices(assumed_spacing_mm=(i, j, k), volume_index=volume)


def _require_outside(page: Path, folder: Path, site_id: str) -> None:
    if page.resolve().is_relative_to(folder.resolve()):
        msg = (
            f"{site_id}: {page} is inside of the centre's folder; wanted a page outside of it: nothing is written there"
        )
        raise DiffuseUdaError(msg)


def _print_changes(console: Console, changes: list[Change], folder: Path) -> None:
    for change in changes:
        console.print(f"{change.file}: {change.before} -> {change.after}", markup=False)
    console.print(f"{len(changes)} files corrected in {folder}; check it again", markup=False)


def _print_report(report: IntakeReport) -> None:
    from diffuse_uda.reporting.intake_page import shown  # noqa: PLC0415 - only with findings

    console = Console(highlight=False)
    if report.findings:
        table = Table("", "code", "rule", "case", "found, wanted, what to do", show_lines=True)
        for finding in map(shown, report.findings):
            style = _STYLES[finding.reaction]
            place = finding.case if finding.case != "-" else Path(finding.file).name
            words = f"found: {finding.found}\nwanted: {finding.wanted}\nfix: {finding.fix}"
            table.add_row(f"[{style}]{finding.reaction}[/]", finding.code, finding.rule, _plain(place), _plain(words))
        console.print(table)
    num_out, centre = len(report.quarantined_cases), report.centre
    told = f"{centre.site_id} ({report.role.value}): {len(centre.train)} training and {len(centre.test)} held-out scans"
    console.print(
        f"{told} are in order, {num_out} cases quarantined, {len(report.warnings)} warnings: {report.verdict.value}",
        markup=False,
        soft_wrap=True,
    )


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
