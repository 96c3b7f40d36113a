"""One case, looked at by itself: every file is read once, to its end, and only facts about it are kept.

This is what the workers of the gate do, so it must not import torch, and what it takes and gives must be small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.data.intake.label_facts import LabelFacts, describe_labels
from diffuse_uda.data.intake.options import IntakeOptions
from diffuse_uda.data.intake.picture import picture_of
from diffuse_uda.data.intake.scan_facts import ScanFacts, axis_directions, describe_scan, sample
from diffuse_uda.data.intake.scan_rules import Modality, judge_labels, judge_scan
from diffuse_uda.data.nifti import NiftiLayout
from diffuse_uda.data.scan_checks import check_image, check_label_map, classes_of
from diffuse_uda.data.volumes import MAX_DEFLATE_RATIO, Volume, load_scan
from diffuse_uda.errors import Finding
from diffuse_uda.types import Triple

MAX_SCAN_EXPANSION = 250
"""How many times larger than its compressed file a scan may be: noise does not compress, and skull-stripped heads come
to about ten. Label maps are bounded by their scan's size instead."""
WAITS_S = (1.0, 2.0, 4.0)
"""Between attempts on a disk that does not answer."""

FileStamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseTask:
    """A case to look at."""

    site_id: str
    root: Path
    case: CaseFiles
    is_training: bool
    label_names: Mapping[int, str]
    """By value in the file."""
    modality: Modality
    options: IntakeOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedCase:
    """What was seen of a case."""

    case_id: str
    is_training: bool
    image: Path
    findings: tuple[Finding, ...] = ()
    scan: ScanFacts | None = None
    """None where the image cannot be used."""
    labels: LabelFacts | None = None
    """None without a label map, or where it cannot be used."""
    picture: bytes | None = None
    """PNG of three planes, where it was asked for."""
    stamps: Mapping[Path, FileStamp] | None = None
    """Of the files, from before they were read."""


def check_case(task: CaseTask, *, sleep: Callable[[float], None] = time.sleep) -> CheckedCase:
    """Read the files of a case and say what is wrong with them.

    Args:
        task: The case.
        sleep: Waits between attempts on a disk that does not answer.
    """
    case = task.case
    findings: list[Finding] = []
    files = [path for path in (case.image, case.label_map) if path is not None]
    stamps = {path: stamp for path in files if (stamp := file_stamp(path)) is not None}

    def note(path: Path, *rules: BrokenRuleError) -> None:
        findings.extend(rule.at(centre=task.site_id, case=case.case_id, file=str(path)) for rule in rules)

    image, facts, few, towards = None, None, np.zeros(0), np.zeros((3, 2))
    try:
        image, layout = _load_patiently(task.root, case.image, sleep, max_expansion=MAX_SCAN_EXPANSION)
        check_image(image)
        few, towards = sample(image.voxels), axis_directions(image.affine_mm)
        facts = describe_scan(image, few, layout, towards)
        note(case.image, *layout.notes, *judge_scan(facts, task.modality))
    except BrokenRuleError as rule:
        note(case.image, rule)
    labels = None
    if case.label_map is not None:
        try:
            shape = None if image is None else image.shape
            label_map, layout = _load_patiently(task.root, case.label_map, sleep, shape=shape)
            values, broken = check_label_map(label_map, image, task.label_names.keys())
            note(case.label_map, *layout.notes, *broken)
            if facts is not None and image is not None and not broken:
                labels = describe_labels(classes_of(label_map.voxels), values, image, few, towards)
                demands = task.options.demands_foreground and task.is_training
                note(case.label_map, *judge_labels(labels, task.label_names, demands_foreground=demands))
        except BrokenRuleError as rule:
            note(case.label_map, rule)
    is_drawn = task.options.with_pictures and facts is not None and image is not None
    return CheckedCase(
        case_id=case.case_id,
        is_training=task.is_training,
        image=case.image,
        findings=tuple(findings),
        scan=facts,
        labels=labels,
        picture=picture_of(image, towards) if is_drawn and image is not None else None,
        stamps=stamps,
    )


def file_stamp(path: Path) -> FileStamp | None:
    """What tells that a file is still the same; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _load_patiently(
    root: Path,
    path: Path,
    sleep: Callable[[float], None],
    *,
    max_expansion: int = MAX_DEFLATE_RATIO,
    shape: Triple | None = None,
) -> tuple[Volume, NiftiLayout]:
    """Read a file; where the disk does not answer, wait and try again.

    Raises:
        BrokenRuleError: `storage-gone` if it does not come back; any other rule that the file breaks at once.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return load_scan(path, max_expansion=max_expansion, shape=shape)
        except BrokenRuleError as rule:
            is_gone = rule.rule == "storage-gone" or (rule.rule == "missing-file" and not root.is_dir())
            if not is_gone:
                raise
            if wait_s is None:
                found = rule.found if rule.rule == "storage-gone" else "the centre's folder is no longer there"
                raise BrokenRuleError("storage-gone", found=found) from rule
            sleep(wait_s)
    msg = "the last attempt returns or raises"
    raise AssertionError(msg)
