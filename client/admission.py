"""The gate at the start of every run, and the cases that it let in: nothing else is trained on or scored."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

from client.site import Site
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.formats.nnunet import CentreFolder
from diffuse_uda.data.intake import IntakeOptions, IntakeReport, check_centre
from diffuse_uda.data.intake.record import admitted_centre, read_record, write_record
from diffuse_uda.errors import InputError
from diffuse_uda.exchange.intake_words import SALT_BYTES, told_case, told_findings

RECORD = "intake.json"
SALT = "intake-salt"
"""Both in the workspace, for this account alone."""

logger = logging.getLogger(__name__)


def let_in(site: Site) -> IntakeReport:
    """Let the site's folder through the intake gate and keep its word: once at the start of a run.

    The record says which cases are quarantined and why; the log says how many.

    Raises:
        InputError: If the centre cannot take part; what may be told of it names cases by salted names only.
    """
    site.workspace.mkdir(parents=True, exist_ok=True)
    salt = case_salt(site.workspace)
    try:
        report = check_centre(site.data_dir, site.role, site_id=site.site_id, options=options_of(site))
    except InputError as error:
        raise InputError(error.findings, told=told_findings(error.findings, salt)) from None
    write_record(site.workspace / RECORD, report, partial(told_case, salt=salt))
    num_used, num_out = len(report.centre.train) + len(report.centre.test), len(report.quarantined_cases)
    if num_out or report.warnings:
        logger.warning(
            "intake of %s: %d cases take part, %d are quarantined, %d warnings; see %s",
            site.site_id,
            num_used,
            num_out,
            len(report.warnings),
            site.workspace / RECORD,
        )
    return report


def admitted(site: Site) -> CentreFolder:
    """The cases that passed the gate at the start of this run, as long as their files are what they were.

    Raises:
        InputError: If a file has changed since, or, where there is no record of this folder and role, the gate refuses.
    """
    record = read_record(site.workspace / RECORD)
    if record is None or record.root != str(site.data_dir) or record.role is not site.role:
        return let_in(site).centre
    return admitted_centre(record, site.site_id, options_of(site))


def options_of(site: Site) -> IntakeOptions:
    """The site's own choices."""
    return IntakeOptions(follow_links=site.follow_links)


def case_salt(workspace: Path) -> bytes:
    """Random bytes of this site's own, made once; whoever has them could tell which case a told name means."""
    path = workspace / SALT
    if path.exists() and path.stat().st_size >= SALT_BYTES:
        return path.read_bytes()
    with replaced_atomically(path, mode=0o600) as draft:
        draft.write_bytes(os.urandom(SALT_BYTES))
    return path.read_bytes()
