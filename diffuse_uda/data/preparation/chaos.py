"""CHAOS 2019 (Kavur et al., Medical Image Analysis 2021): abdominal CT, and MR in two sequences, as DICOM and PNG.

Layout, from the challenge's data page and the names in its training archive:

    Train_Sets/MR/1/T1DUAL/DICOM_anon/InPhase/IMG-0004-00002.dcm   and OutPhase/
    Train_Sets/MR/1/T1DUAL/Ground/IMG-0004-00002.png
    Train_Sets/MR/1/T2SPIR/DICOM_anon/IMG-0002-00001.dcm
    Train_Sets/MR/1/T2SPIR/Ground/IMG-0002-00001.png
    Train_Sets/CT/1/DICOM_anon/i0000,0000b.dcm
    Train_Sets/CT/1/Ground/liver_GT_000.png

Greys of the MR masks, with the ranges that the challenge's evaluation allows: liver 63 (55 to 70), right kidney 126
(110 to 135), left kidney 189 (175 to 200), spleen 252 (240 to 255). CT masks show the liver alone (255). CT masks are
paired with slices in the order of their names, as the archive numbers both. Test sets have no masks and are left out.

Papers adapt from BTCV's CT to T2-SPIR and back on the four organs (SIFA and later, LE-UDA's abdomen), 20 MR scans, a
fifth of them to test; they name none, so it is drawn with seed 0. T1-DUAL to T2-SPIR is a shift inside the data set;
everybody has both sequences, so the people are divided. From its own CT, the liver alone can be adapted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.contract import ListedCase, Problems
from diffuse_uda.data.formats.dicom_series import DicomSeries
from diffuse_uda.data.formats.files_below import files_below
from diffuse_uda.data.formats.png_masks import Greys, PngMasks, paired_by_name
from diffuse_uda.data.preparation.btcv import SHARED_ORGANS, btcv_centre
from diffuse_uda.data.preparation.plan import Classes, PreparationPlan
from diffuse_uda.data.preparation.published import (
    PublishedCentre,
    halves,
    plan_published,
    refuse_incomplete,
    usual_parts,
)
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole

LAYOUT = "chaos"
Scans = Literal["ct", "t1dual", "t1dual-out", "t2spir"]
MR_GREYS = (
    Greys(lowest=55, highest=70, number=1),
    Greys(lowest=110, highest=135, number=2),
    Greys(lowest=175, highest=200, number=3),
    Greys(lowest=240, highest=255, number=4),
)
SPLIT = "a fifth of the people to test and a tenth of the target's to develop on, drawn with seed 0"
CT_GREYS = (Greys(lowest=1, highest=255, number=1),)
_FOUR = Classes(names=SHARED_ORGANS, class_of={number: number for number in range(5)})
_LIVER = Classes(names=SHARED_ORGANS[:1], class_of={0: 0, 1: 1, 2: 0, 3: 0, 4: 0})
_CHANNELS: dict[Scans, str] = {"ct": "CT", "t1dual": "T1-DUAL in", "t1dual-out": "T1-DUAL out", "t2spir": "T2-SPIR"}
_FOLDERS: dict[Scans, re.Pattern[str]] = {
    "ct": re.compile(r"(?:.*/)?CT/(\d+)/DICOM_anon"),
    "t1dual": re.compile(r"(?:.*/)?(\d+)/T1DUAL/DICOM_anon/InPhase"),
    "t1dual-out": re.compile(r"(?:.*/)?(\d+)/T1DUAL/DICOM_anon/OutPhase"),
    "t2spir": re.compile(r"(?:.*/)?(\d+)/T2SPIR/DICOM_anon"),
}


def plan_chaos(
    root: Path, *, source: Scans | None = None, target: Scans = "t2spir", btcv: Path | None = None
) -> PreparationPlan:
    """Plan a target, a source, or both.

    Args:
        root: Folder that holds the unpacked training archive.
        source: Scans of the source; None for none from this data set.
        target: Scans of the target.
        btcv: Folder of BTCV: its CT becomes the source, or the target instead of `target` where `source` is given.

    Raises:
        ConfigError: If source and target are the same scans.
        InputError: If the scans are not there, or a case has other numbers of masks and slices.
    """
    if source is not None and btcv is not None:
        classes = _LIVER if source == "ct" else _FOUR
        centre = _centre(SiteRole.SOURCE, source, classes, _cases(root, source))
        return plan_published(LAYOUT, SPLIT, [centre, btcv_centre(btcv, SiteRole.TARGET, classes.names)])
    if source == target:
        msg = f"source and target are both {target!r}: wanted different scans"
        raise ConfigError(msg)
    classes = _LIVER if "ct" in (source, target) else _FOUR
    cases, split = _cases(root, target), SPLIT
    if source is None:
        sources = [] if btcv is None else [btcv_centre(btcv, SiteRole.SOURCE, classes.names)]
        return plan_published(LAYOUT, split, [*sources, _centre(SiteRole.TARGET, target, classes, cases)])
    of_source = _cases(root, source)
    if "ct" not in (source, target):  # both sequences are of the same people
        at_source, at_target = halves([*of_source, *cases])
        of_source = [case for case in of_source if case.patient in at_source]
        cases = [case for case in cases if case.patient in at_target]
        split = f"people divided between the sequences; {split}"
    return plan_published(
        LAYOUT,
        split,
        [_centre(SiteRole.SOURCE, source, classes, of_source), _centre(SiteRole.TARGET, target, classes, cases)],
    )


def _centre(role: SiteRole, scans: Scans, classes: Classes, cases: Sequence[ListedCase]) -> PublishedCentre:
    return PublishedCentre(
        name=f"{role}_{scans}",
        channel_name=_CHANNELS[scans],
        classes=classes,
        cases=cases,
        parts=usual_parts(cases, role),
    )


def _cases(root: Path, scans: Scans) -> list[ListedCase]:
    slices: defaultdict[tuple[str, Path], list[Path]] = defaultdict(list)
    for path in files_below(root):
        folder = path.parent.relative_to(root)
        match = _FOLDERS[scans].fullmatch(folder.as_posix())
        if match and path.suffix == ".dcm" and "Test_Sets" not in folder.parts:
            slices[match[1], path.parent].append(path)
    if not slices:
        raise refuse_incomplete(LAYOUT, root, f"no {_CHANNELS[scans]} scans", "Train_Sets/MR and Train_Sets/CT")
    problems, cases = Problems(LAYOUT), []
    for (number, folder), files in sorted(slices.items()):
        ground = (folder.parent.parent if scans.startswith("t1dual") else folder.parent) / "Ground"
        kind = "ct" if scans == "ct" else "mr"
        try:
            pairs = paired_by_name(sorted(ground.glob("*.png")), files)
        except BrokenRuleError as rule:
            problems.add(rule, place=ground, case=f"{kind}_{number}")
            continue
        cases.append(
            ListedCase(
                case_id=f"{kind}_{number}",
                patient=f"chaos_{kind}_{number}",
                place=folder,
                image=DicomSeries(files=tuple(files)),
                label_map=PngMasks(pairs=pairs, greys=CT_GREYS if scans == "ct" else MR_GREYS),
            )
        )
    problems.refuse_any()
    if len({case.case_id for case in cases}) < len(cases):
        raise refuse_incomplete(LAYOUT, root, "one case number in two folders", "the training archive, unpacked once")
    return cases
