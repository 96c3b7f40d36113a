"""The files of one folder of a centre, by case; links that lead elsewhere are refused."""

from __future__ import annotations

import os
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


def list_files(root: Path, folder: str, site_id: str, *, follow_links: bool = False) -> FileListing:
    """List the NIfTI files of a folder; a folder that does not exist is an empty one.

    Args:
        root: The centre's folder; nothing outside it is ever opened, unless links may be followed.
        folder: Name inside `root`.
        site_id: Name in messages.
        follow_links: Whether links may lead out of the centre's folder.

    Returns:
        The files, and what is wrong with the others.
    """
    listing = FileListing(folder=folder)
    path, inside = root / folder, root.resolve()
    try:
        if not follow_links:
            _require_inside(path, inside, "folder-outside")
        names = sorted(_names(path))
    except BrokenRuleError as rule:
        listing.problems.append(rule.at(centre=site_id, file=str(path)))
        return listing
    seen: dict[str, str] = {}
    for name, is_link in names:
        # Finder, Samba and editors leave hidden files behind; they are nobody's scans.
        if name.startswith("."):
            continue
        entry = path / name
        stem = _without_ending(name)
        try:
            if stem is None:
                _refuse_foreign_format(name)
                unexpected = BrokenRuleError("unexpected-file", found=name)
                listing.warnings.append(unexpected.at(centre=site_id, file=str(entry)))
                continue
            _require_plain_name(stem)
            if is_link and not follow_links:
                _require_inside(entry, inside, "link-leaves-folder")
            _refuse_second_file(name, seen.get(stem.casefold()))
        except BrokenRuleError as rule:
            listing.problems.append(rule.at(centre=site_id, case=stem or name.partition(".")[0], file=str(entry)))
            continue
        seen[stem.casefold()] = name
        listing.files.append((stem, entry))
    return listing


def _names(path: Path) -> list[tuple[str, bool]]:
    """Names in a folder and whether they are links, without a look at what they name: there may be 10^5 of them."""
    try:
        with os.scandir(path) as entries:
            return [(entry.name, entry.is_symlink()) for entry in entries]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BrokenRuleError("unreadable-folder", found=error.strerror or str(error)) from error


def _without_ending(name: str) -> str | None:
    return next((name[: -len(ending)] for ending in FILE_ENDINGS if name.endswith(ending)), None)


def _require_inside(path: Path, root: Path, rule: str) -> None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise BrokenRuleError("link-leads-nowhere", found=f"a link that ends in a loop ({error})") from error
    if not target.is_relative_to(root):
        raise BrokenRuleError(rule, found=f"a link to {target}")


def _require_plain_name(stem: str) -> None:
    if not _NAME.fullmatch(stem) or ".." in stem:
        raise BrokenRuleError("case-name", found=f"a file named {stem!r}")


def _refuse_foreign_format(name: str) -> None:
    if name.lower().endswith((*_FOREIGN_ENDINGS, *FILE_ENDINGS)):
        raise BrokenRuleError("unsupported-format", found=name)


def _refuse_second_file(name: str, first: str | None) -> None:
    if first is None:
        return
    if _without_ending(first) == _without_ending(name):
        raise BrokenRuleError("repeated-case-name", found=f"{first} and {name} for one case")
    raise BrokenRuleError("names-differ-by-case", found=f"{first} and {name}")
