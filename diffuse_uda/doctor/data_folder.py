"""A centre's folder at a glance: names, permissions, and its first scan. Nothing below the folder is ever named."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CentreListing, list_centre
from diffuse_uda.data.rules import Reaction, reaction_to
from diffuse_uda.data.scan_checks import check_image
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned
from diffuse_uda.types import SiteRole, Spacing


@dataclass(frozen=True, kw_only=True, slots=True)
class QuickLook:
    """What can be told of a centre without reading every scan."""

    folder: Path
    num_training: int
    num_held_out: int
    num_classes: int | None
    """Background included; None without a usable dataset.json."""
    broken_rules: Counter[str]
    """Rules of the intake gate, by how often they are broken."""
    warnings: Counter[str]
    num_unreadable: int
    first_scan_mm3: float | None
    """Volume that the first training scan covers; None if it cannot be read."""

    def working_voxels(self, spacing_mm: Spacing) -> int | None:
        """Voxels of the first scan on a working grid."""
        return None if self.first_scan_mm3 is None else math.ceil(self.first_scan_mm3 / math.prod(spacing_mm))


def look_at(folder: Path, role: SiteRole) -> QuickLook:
    """List a centre's files, ask for permissions, and open one scan."""
    listing = list_centre(folder, "this site")
    centre = listing.centre
    broken = Counter(finding.rule for finding in listing.problems)
    if role is SiteRole.SOURCE:
        unlabelled = sum(case.label_map is None for case in centre.train)
        is_bare = 0 < unlabelled == len(centre.train)
        broken += Counter({"no-labels-at-source": 1} if is_bare else {"image-without-label-map": unlabelled})
    first_scan_mm3: float | None = None
    if centre.train:
        try:
            scan = load_volume(centre.train[0].image)
            check_image(scan)
            first_scan_mm3 = math.prod(scan.shape) * math.prod(scan.spacing_mm)
        except BrokenRuleError as rule:
            broken[rule.rule] += 1
    return QuickLook(
        folder=folder,
        num_training=len(centre.train),
        num_held_out=len(centre.test),
        num_classes=len(centre.label_names) or None,
        broken_rules=broken,
        warnings=Counter(finding.rule for finding in listing.warnings),
        num_unreadable=sum(not os.access(path, os.R_OK) for path in _files(listing)),
        first_scan_mm3=first_scan_mm3,
    )


def judge_data(look: QuickLook, role: SiteRole) -> Verdict:
    """The folder would pass the names and permissions of the intake gate; single broken cases would be quarantined."""
    scans = f"{look.num_training} training and {look.num_held_out} held-out scans"
    wanted = f"a folder in the nnU-Net layout that passes the intake gate as {role.value}"
    fix = f"diffuse-uda check {look.folder} --role {role.value} names the cases and reads every scan"
    if look.num_unreadable:
        found = f"{look.folder}: {look.num_unreadable} files that this account may not read; {scans}"
        return failed("data folder", found, wanted, "give the site's account the right to read, not to write")
    taken_out = Counter({r: n for r, n in look.broken_rules.items() if reaction_to(r) is Reaction.CASE})
    if look.broken_rules - taken_out or 2 * taken_out.total() > look.num_training:
        return failed("data folder", f"{look.folder}: {_counted(look.broken_rules)}; {scans}", wanted, fix)
    if odd := taken_out + look.warnings:
        return warned("data folder", f"{look.folder}: {_counted(odd)}; {scans}", wanted, fix)
    return passed("data folder", f"{look.folder}: {scans}", wanted)


def _files(listing: CentreListing) -> Iterable[Path]:
    for case in (*listing.centre.train, *listing.centre.test):
        yield case.image
        if case.label_map is not None:
            yield case.label_map


def _counted(rules: Counter[str]) -> str:
    """Rules and how often: a finding's own words may hold the name of a case."""
    return ", ".join(f"{rule} x{count}" for rule, count in sorted(rules.items()))
