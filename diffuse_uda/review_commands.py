"""Verbs for a hospital's own eyes: a page of its cases, worst first, and the verdicts that somebody gave there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffuse_uda.errors import ConfigError
from diffuse_uda.site_code import site_code

Scans = Annotated[list[Path] | None, typer.Argument(help="NIfTI files, folders of them, or a centre's folder.")]


def report(
    scans: Scans = None,
    *,
    site: Annotated[Path | None, typer.Option(help="The site's settings, site.toml: its own scans.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of an adapted segmenter.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the report; with --site, in its workspace.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder of label maps that are there already.")] = None,
    references: Annotated[Path | None, typer.Option(help="Folder of reference label maps, for scores alone.")] = None,
    labels: Annotated[Path | None, typer.Option(help="dataset.json with the classes; without --model.")] = None,
    slices: Annotated[int, typer.Option(min=1, max=400, help="At most so many in every plane of a case.")] = 48,
    max_mb: Annotated[float, typer.Option(min=0.1, help="Size of a page; then another page begins.")] = 40.0,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
) -> None:
    """Make a page of this hospital's cases with their segmentations, the most suspicious first; it never leaves."""
    from diffuse_uda.review import request  # noqa: PLC0415 - torch and pictures take seconds, other verbs need none
    from diffuse_uda.review.site_report import write_site_report  # noqa: PLC0415

    if (site is None) == (not scans):
        msg = "name either scans (files, folders, a centre's folder) or --site site.toml"
        raise ConfigError(msg)
    options = request.Options(
        model=model,
        out=out,
        predictions=predictions,
        references=references,
        labels=labels,
        max_slices=slices,
        max_page_bytes=round(max_mb * 1e6),
        title=title,
    )
    if site is not None:
        wanted = site_code("client.site_review").requested(site, options)
    else:
        wanted = request.of_scans(scans or [], options)
    written = write_site_report(wanted.plan, wanted.segmenter, model_sha256=wanted.model_sha256, say=_say)
    left_out = f", {len(written.left_out)} left out" if written.left_out else ""
    typer.echo(f"{written.num_cases} cases{left_out}; open {written.pages[0]} (it shows patients: it stays here)")


def verdicts(
    file: Annotated[Path, typer.Argument(help="verdicts-<report>.json, as the page saved it.")],
    report_folder: Annotated[
        Path | None, typer.Option("--report", help="The report's folder; without it, the file's own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="List of accepted cases; without it, accepted.txt in the report's folder.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Read verdicts back, check them against the report they are about, and list the accepted cases."""
    from diffuse_uda.review.verdicts import Choice, read_verdicts, write_accepted  # noqa: PLC0415 - torch takes seconds

    folder = report_folder or file.parent
    found = read_verdicts(file, folder)
    accepted = out or folder / "accepted.txt"
    write_accepted(accepted, found)
    if as_json:
        judged = {verdict.case_id: {"verdict": verdict.choice, "at": verdict.at.isoformat()} for verdict in found.given}
        typer.echo(json.dumps({"report": found.report, "verdicts": judged, "open": list(found.open)}, indent=1))
        return
    table = Table("case", "verdict", "when")
    for verdict in found.given:
        table.add_row(verdict.case_id, f"{verdict.choice.value}ed", f"{verdict.at:%Y-%m-%d %H:%M}")
    for case_id in found.open:
        table.add_row(case_id, "not judged", "")
    Console().print(table, markup=False)
    typer.echo(
        f"{len(found.of(Choice.ACCEPT))} accepted (listed in {accepted}), {len(found.of(Choice.REJECT))} rejected, "
        f"{len(found.open)} not judged"
    )


def _say(line: str) -> None:
    typer.echo(line, err=True)
