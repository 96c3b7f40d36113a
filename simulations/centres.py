"""Which folders take part in a simulated federation, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.data.formats.nnunet import CentreFolder
from diffuse_uda.data.intake import check_centre, check_federation
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.types import SiteRole

KNOWN_TARGETS = {"brain4": ("target_t2w", "target_flair_real")}
"""Targets taken by default from cohorts whose folders must not all be in one federation.

brain4's `target_t1_real` shows the same people as `target_flair_real`: two "hospitals" with the same patients would
make the federation look better than it is.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Centre:
    """One checked folder and its role."""

    site_id: str
    role: SiteRole
    folder: Path
    files: CentreFolder
    warnings: tuple[Finding, ...] = ()
    """What people should know, quarantined cases first; `files` is without those."""


def find_centres(folder: Path, targets: Sequence[str] = ()) -> list[Path]:
    """Folders of a federation: `source*` first, then the targets by name.

    Args:
        folder: Holds one folder a centre; names say the role: `source*` or `target*`.
        targets: Names of the target folders to take; all `target*` (or the known choice of a cohort) when empty.

    Raises:
        InputError: If the folder or a named target is missing, or nothing in it looks like a centre.
    """
    if not folder.is_dir():
        raise InputError([_missing(folder, "no such folder", "one folder a centre: source*, target*")])
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    sources = [child for child in children if child.name.startswith("source")]
    wanted = tuple(targets) or KNOWN_TARGETS.get(folder.resolve().name, ())
    if wanted:
        chosen = [folder / name for name in wanted]
        if missing := [child for child in chosen if not child.is_dir()]:
            raise InputError([_missing(child, "no such folder", "the target that was asked for") for child in missing])
    else:
        chosen = [child for child in children if child.name.startswith("target")]
    if not sources and not chosen:
        found = f"{len(children)} folders, none named source* or target*"
        raise InputError([_missing(folder, found, "one folder a centre: source*, target*")])
    return [*sources, *chosen]


def check_centres(folders: Sequence[Path]) -> list[Centre]:
    """Let every folder through the intake gate, and collect every problem of all of them before saying so.

    Raises:
        InputError: With all findings of all centres.
    """
    roles = [SiteRole.SOURCE if folder.name.startswith("source") else SiteRole.TARGET for folder in folders]
    check_federation([(folder.name, role) for folder, role in zip(folders, roles, strict=True)])
    centres: list[Centre] = []
    problems: list[Finding] = []
    label_names = None
    for folder, role in zip(folders, roles, strict=True):
        try:
            report = check_centre(folder, role, site_id=folder.name, label_names=label_names)
        except InputError as error:
            problems += error.findings
            continue
        if role is SiteRole.SOURCE:
            label_names = report.centre.label_names
        centres.append(
            Centre(
                site_id=folder.name,
                role=role,
                folder=folder,
                files=report.centre,
                warnings=(*report.quarantined, *report.warnings),
            )
        )
    if problems:
        raise InputError(problems)
    return centres


def _missing(folder: Path, found: str, wanted: str) -> Finding:
    return Finding(
        rule="missing-centre",
        centre=folder.name,
        file=str(folder),
        found=found,
        wanted=wanted,
        fix="check the path, or rename the centres' folders; see README, 'Your own scans'",
    )
