"""A corrected copy of a centre: what can be corrected is written anew, everything else keeps a second name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.intake.corrections import CORRECTIONS, Change, Choices, Content, count_anew, gzip_ends_well
from diffuse_uda.data.intake.report import IntakeReport
from diffuse_uda.data.links import link_file
from diffuse_uda.errors import Finding, InputError

LOG = "corrections.json"
_FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "oracle/labelsTr")


def write_corrected(report: IntakeReport, folder: Path, choices: Choices) -> list[Change]:
    """Write a centre's folder again, with corrections, and `corrections.json` about what was before and after.

    Files in which nothing is corrected are hard links to the centre's own (copies on another file system); what cannot
    be corrected is there as it was, so that the gate says the same about it as before. The originals are only read.

    Args:
        report: What the gate said.
        folder: New or empty, outside of the centre's folder.
        choices: What only a person can know.

    Returns:
        The changes, in the order of the folder.

    Raises:
        InputError: If the folder holds anything, or lies in the centre's.
    """
    root = report.centre.root
    require_outside(folder, root, report.centre.site_id)
    folder.mkdir(parents=True, exist_ok=True)
    broken = _rules_by_file(report.findings)
    changes: list[Change] = []
    for part in _FOLDERS:
        for original in sorted((root / part).glob("*")) if (root / part).is_dir() else ():
            if not original.is_file():
                continue
            copy = folder / part / original.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            content: Content = "image" if part.startswith("images") else "label"
            change = _corrected(original, copy, content, broken.get(original, ()), choices)
            if change is None:
                link_file(original.resolve(), copy)
            else:
                changes.append(change)
    description = root / "dataset.json"
    if "wrong-num-training" in broken.get(description, ()):
        changes.append(count_anew(description, folder / "dataset.json", _num_scans(folder)))
    elif description.is_file():
        link_file(description.resolve(), folder / "dataset.json")
    log = [
        {"file": change.file.relative_to(folder).as_posix(), "before": change.before, "after": change.after}
        for change in changes
    ]
    (folder / LOG).write_text(json.dumps({"from": str(root), "corrected": log}, indent=1) + "\n", encoding="utf-8")
    return changes


def require_outside(path: Path, root: Path, site_id: str) -> None:
    """Refuse to write into or over a centre's data, or into a folder that holds anything.

    Raises:
        InputError: With the rule `output-in-data`.
    """
    found = ""
    if path.resolve().is_relative_to(root.resolve()):
        found = "a place inside of the centre's folder"
    elif path.is_dir() and any(path.iterdir()):
        found = "a folder that is not empty"
    if found:
        raise InputError([BrokenRuleError("output-in-data", found=found).at(centre=site_id, file=str(path))])


def _corrected(original: Path, copy: Path, content: Content, rules: Iterable[str], choices: Choices) -> Change | None:
    rule = next((rule for rule in rules if rule in CORRECTIONS), None)
    if rule is None or (rule != "wrong-ending" and not gzip_ends_well(original)):
        return None
    return CORRECTIONS[rule](original, copy, content, choices)


def _rules_by_file(findings: Iterable[Finding]) -> dict[Path, list[str]]:
    rules: dict[Path, list[str]] = {}
    for finding in findings:
        rules.setdefault(Path(finding.file), []).append(finding.rule)
    return rules


def _num_scans(folder: Path) -> int:
    return sum(1 for path in (folder / "imagesTr").glob("*_0000.nii*"))
