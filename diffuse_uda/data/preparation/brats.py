"""BraTS 2020: gliomas on FLAIR and T2, as two centres of different people; the whole tumour.

Layout, from the challenge's data page and the training archive's names: a folder a case, `BraTS20_Training_001/` with
`BraTS20_Training_001_flair.nii`, `_t1`, `_t1ce`, `_t2` and `_seg` (`.nii` or `.nii.gz`); labels 1 necrotic and
non-enhancing core, 2 oedema, 4 enhancing tumour. In case 355 of the archive the segmentation is called
`W39_1998.09.19_Segm.nii`: where `_seg` is missing, one file whose name ends in `Segm` is taken for it.

Adaptation papers take FLAIR and T2 for the two domains and the union of 1, 2 and 4 for the one structure. The method
notes give no list of cases; everybody has both sequences, so the people are divided: in the order of `shuffled` with
seed 0, the first half is the source's, the other the target's. A fifth of each is tested on, a tenth of the target is
developed on. Papers with other lists are not comparable case by case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from diffuse_uda.data.formats.contract import ListedCase, NiftiFile
from diffuse_uda.data.formats.files_below import files_below
from diffuse_uda.data.preparation.plan import Classes, PreparationPlan
from diffuse_uda.data.preparation.published import (
    PublishedCentre,
    halves,
    plan_published,
    refuse_incomplete,
    usual_parts,
)
from diffuse_uda.types import SiteRole

LAYOUT = "brats"
Contrast = Literal["flair", "t2"]
CLASSES = Classes(names=("whole_tumour",), class_of={0: 0, 1: 1, 2: 1, 4: 1})
_CASE = re.compile(r"BraTS20_Training_\d{3}")
_ENDINGS = (".nii.gz", ".nii")


def plan_brats(root: Path, *, source: Contrast = "flair") -> PreparationPlan:
    """Plan FLAIR to T2 or the reverse.

    Args:
        root: Holds the folders `BraTS20_Training_...`, at any depth.
        source: Sequence of the source.

    Raises:
        InputError: If there are fewer than four cases, or a file of a case is missing.
    """
    target: Contrast = "t2" if source == "flair" else "flair"
    folders = sorted({path.parent for path in files_below(root) if _CASE.fullmatch(path.parent.name)})
    if len(folders) < 4 or len({folder.name for folder in folders}) < len(folders):
        found = f"{len(folders)} folders BraTS20_Training_..."
        raise refuse_incomplete(LAYOUT, root, found, "at least four, each once")
    cases = [_case(root, folder, source) for folder in folders]
    at_source, at_target = halves(cases)
    centres = [
        _centre(SiteRole.SOURCE, source, [case for case in cases if case.patient in at_source]),
        _centre(
            SiteRole.TARGET,
            target,
            [_with_image(case, _file(root, case.place.parent, target)) for case in cases if case.patient in at_target],
        ),
    ]
    split = (
        "people divided between the sequences, a fifth of each to test and a tenth of the target to develop on, seed 0"
    )
    return plan_published(LAYOUT, split, centres)


def _centre(role: SiteRole, sequence: Contrast, cases: Sequence[ListedCase]) -> PublishedCentre:
    return PublishedCentre(
        name=f"{role}_{sequence}",
        channel_name="FLAIR" if sequence == "flair" else "T2w",
        classes=CLASSES,
        cases=cases,
        parts=usual_parts(cases, role),
    )


def _case(root: Path, folder: Path, sequence: Contrast) -> ListedCase:
    image = _file(root, folder, sequence)
    return ListedCase(
        case_id=folder.name,
        patient=folder.name,
        place=image,
        image=NiftiFile(path=image),
        label_map=NiftiFile(path=_segmentation(root, folder)),
    )


def _with_image(case: ListedCase, path: Path) -> ListedCase:
    return replace(case, place=path, image=NiftiFile(path=path))


def _file(root: Path, folder: Path, kind: str) -> Path:
    found = [path for ending in _ENDINGS if (path := folder / f"{folder.name}_{kind}{ending}").is_file()]
    if len(found) != 1:
        raise refuse_incomplete(LAYOUT, root, f"{len(found)} files {folder.name}_{kind}.nii[.gz]", "one")
    return found[0]


def _segmentation(root: Path, folder: Path) -> Path:
    misnamed = [path for ending in _ENDINGS for path in sorted(folder.glob(f"*Segm{ending}"))]
    usual = [folder / f"{folder.name}_seg{ending}" for ending in _ENDINGS]
    if len(misnamed) == 1 and not any(path.is_file() for path in usual):
        return misnamed[0]
    return _file(root, folder, "seg")
