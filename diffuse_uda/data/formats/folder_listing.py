"""The files of one folder of a centre, by case; links that lead elsewhere are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import FILE_ENDINGS
from diffuse_uda.errors import Finding

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_FOREIGN_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".img.gz", ".mgz", ".mgh", ".dcm", ".mnc", ".nia")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileListing:
    """What one folder holds."""

    folder: str
    files: list[tuple[str, Path]] = field(default_factory=list)
    """Name without ending, and path, sorted."""
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def list_files(root: Path, folder: str, site_id: str) -> FileListing:
    """List the NIfTI files of a folder; a folder that does not exist is an empty one.

    Args:
        root: The centre's folder; nothing outside it is ever opened.
        folder: Name inside `root`.
        site_id: Name in messages.

    Returns:
        The files, and what is wrong with the others.
    """
    listing = FileListing(folder=folder)
    path = root / folder
    try:
        _require_inside(path, root)
        entries = sorted(path.iterdir()) if path.exists() else []
    except OSError as error:
        rule = BrokenRuleError(
            "unreadable-file",
            found=error.strerror or str(error),
            wanted="a folder that this account may list",
            fix="check the folder's permissions",
        )
        listing.problems.append(rule.at(centre=site_id, file=str(path)))
        return listing
    except BrokenRuleError as rule:
        listing.problems.append(rule.at(centre=site_id, file=str(path)))
        return listing
    seen: dict[str, str] = {}
    for entry in entries:
        # Finder, Samba and editors leave hidden files behind; they are nobody's scans.
        if entry.name.startswith("."):
            continue
        stem = _without_ending(entry.name)
        try:
            if stem is None:
                _refuse_foreign_format(entry.name)
                listing.warnings.append(_unexpected(entry, site_id))
                continue
            _require_plain_name(stem)
            if entry.is_symlink():
                _require_inside(entry, root)
            if stem in seen:
                _refuse_second_file(entry.name, seen[stem])
        except BrokenRuleError as rule:
            listing.problems.append(rule.at(centre=site_id, case=stem or "-", file=str(entry)))
            continue
        seen[stem] = entry.name
        listing.files.append((stem, entry))
    return listing


def _without_ending(name: str) -> str | None:
    return next((name[: -len(ending)] for ending in FILE_ENDINGS if name.endswith(ending)), None)


def _require_inside(path: Path, root: Path) -> None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise BrokenRuleError(
            "link-leads-nowhere",
            found=f"a link that ends in a loop ({error})",
            wanted="a file",
            fix="replace the link by the file itself",
        ) from error
    if not target.is_relative_to(root.resolve()):
        raise BrokenRuleError(
            "link-leaves-folder",
            found=f"a link to {target}",
            wanted="files inside the centre's folder",
            fix="copy the file into the folder: what a site shares with a run is the folder, not the whole disk",
        )


def _require_plain_name(stem: str) -> None:
    if not _NAME.fullmatch(stem) or ".." in stem:
        raise BrokenRuleError(
            "case-name",
            found=f"a file named {stem!r}",
            wanted="letters, digits, and . _ + - inside the name",
            fix="rename the file (and its label map)",
        )


def _refuse_foreign_format(name: str) -> None:
    if name.lower().endswith((*_FOREIGN_ENDINGS, *FILE_ENDINGS)):
        raise BrokenRuleError(
            "unsupported-format",
            found=name,
            wanted=f"names ending in {' or '.join(FILE_ENDINGS)}",
            fix="convert the scan to NIfTI (.nii.gz)",
        )


def _refuse_second_file(name: str, first: str) -> None:
    raise BrokenRuleError(
        "repeated-case-name",
        found=f"{first} and {name} for one case",
        wanted="one file for every case",
        fix="take one of them out",
    )


def _unexpected(path: Path, site_id: str) -> Finding:
    rule = BrokenRuleError(
        "unexpected-file",
        found=path.name,
        wanted=f"only files ending in {' or '.join(FILE_ENDINGS)}",
        fix="it is ignored; move it elsewhere",
    )
    return rule.at(centre=site_id, file=str(path))
