"""BTCV, "Beyond the Cranial Vault" (Landman et al., MICCAI 2015 workshop): abdominal CT, 13 organs, 30 scans.

Layout, from the challenge's archive: `RawData/Training/img/img0001.nii.gz` and `RawData/Training/label/
label0001.nii.gz`, numbers 0001 to 0010 and 0021 to 0040; the scans of `RawData/Testing/img` have no labels and are left
out. Organs: 1 spleen, 2 right kidney, 3 left kidney, 4 gallbladder, 5 oesophagus, 6 liver, 7 stomach, 8 aorta, 9
inferior vena cava, 10 portal and splenic vein, 11 pancreas, 12 right and 13 left adrenal gland.

Adaptation papers (SIFA and later; LE-UDA's abdomen) pair it with CHAOS on the four organs that both have: liver, right
kidney, left kidney, spleen, in this order here. They test on a fifth of the scans and name none; here it is drawn with
seed 0.
"""

from __future__ import annotations

import re
from pathlib import Path

from diffuse_uda.data.formats.contract import ListedCase, NiftiFile
from diffuse_uda.data.formats.files_below import files_below
from diffuse_uda.data.preparation.plan import Classes, PreparationPlan
from diffuse_uda.data.preparation.published import PublishedCentre, plan_published, refuse_incomplete, usual_parts
from diffuse_uda.types import SiteRole

LAYOUT = "btcv"
ORGANS = (
    "spleen",
    "right_kidney",
    "left_kidney",
    "gallbladder",
    "oesophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior_vena_cava",
    "portal_and_splenic_vein",
    "pancreas",
    "right_adrenal_gland",
    "left_adrenal_gland",
)
SHARED_ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")
"""With CHAOS."""
SPLIT = "a fifth to test and, of a target, a tenth to develop on, drawn with seed 0"
_NAME = re.compile(r"(?P<kind>img|label)(?P<number>\d{4})\.nii(\.gz)?")


def plan_btcv(root: Path, *, role: SiteRole = SiteRole.SOURCE, all_organs: bool = False) -> PreparationPlan:
    """Plan the one centre of this data set.

    Args:
        root: Folder that holds the unpacked archive.
        role: Source for CT to MR, target for MR to CT.
        all_organs: All 13, instead of the four that CHAOS has as well.

    Raises:
        InputError: If there are no labelled scans, or one number is there twice.
    """
    return plan_published(LAYOUT, SPLIT, [btcv_centre(root, role, ORGANS if all_organs else SHARED_ORGANS)])


def btcv_centre(root: Path, role: SiteRole, organs: tuple[str, ...]) -> PublishedCentre:
    """The labelled scans as one centre."""
    files: dict[tuple[str, str], Path] = {}
    for path in files_below(root):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        if (key := (match["kind"], match["number"])) in files:
            raise refuse_incomplete(LAYOUT, root, f"{files[key]} and {path}", "every scan once")
        files[key] = path
    numbers = sorted(number for kind, number in files if kind == "label")
    if missing := [number for number in numbers if ("img", number) not in files]:
        raise refuse_incomplete(LAYOUT, root, f"label{missing[0]} without img{missing[0]}", "an image for every label")
    if len(numbers) < 2:
        raise refuse_incomplete(LAYOUT, root, f"{len(numbers)} label maps", "labelled scans")
    cases = [
        ListedCase(
            case_id=f"btcv_{number}",
            patient=f"btcv_{number}",
            place=files["img", number],
            image=NiftiFile(path=files["img", number]),
            label_map=NiftiFile(path=files["label", number]),
        )
        for number in numbers
    ]
    class_of = {0: 0} | {
        number: organs.index(organ) + 1 if organ in organs else 0 for number, organ in enumerate(ORGANS, start=1)
    }
    return PublishedCentre(
        name=f"{role}_ct",
        channel_name="CT",
        classes=Classes(names=organs, class_of=class_of),
        cases=cases,
        parts=usual_parts(cases, role),
    )
