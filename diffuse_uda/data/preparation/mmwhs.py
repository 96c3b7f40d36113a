"""MM-WHS 2017 (Zhuang and Shen, Medical Image Analysis 2016): cardiac CT and MR of different people, 20 each.

Layout, from the challenge's own archives and the names in common public loaders: `ct_train_1001_image.nii.gz` and
`ct_train_1001_label.nii.gz` to 1020, `mr_train_...` the same, in folders of any name; `ct_test_2001_image.nii.gz` and
so on have no labels and are left out. Numbers in the label maps: 500 blood of the left ventricle, 600 of the right,
420 left atrium, 550 right atrium, 205 myocardium of the left ventricle, 820 ascending aorta, 850 pulmonary artery. One
published label map has a few voxels of 421 for 420; they are read as 420.

Split: that of the unsupervised adaptation papers since SIFA, which ASC and Diffuse-UDA use: structures 205, 420, 500
and 820; test MR 1007 1009 1018 1019, test CT 1003 1008 1014 1019; the 16 other scans of the source are trained on with
labels, 13 of the target without. The papers do not say which three of the target's 16 they developed on: here they are
the first three in the order of `shuffled` with seed 0. Papers that train on all 16 of a target differ in that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Literal

from diffuse_uda.data.formats.contract import ListedCase, NiftiFile, Part
from diffuse_uda.data.formats.files_below import files_below
from diffuse_uda.data.preparation.plan import Classes, PreparationPlan
from diffuse_uda.data.preparation.published import SEED, PublishedCentre, plan_published, refuse_incomplete
from diffuse_uda.data.preparation.splits import shuffled

LAYOUT = "mmwhs"
Modality = Literal["ct", "mr"]
TEST = {"ct": ("1003", "1008", "1014", "1019"), "mr": ("1007", "1009", "1018", "1019")}
NUM_DEVELOPMENT = 3
CLASSES = Classes(
    names=("myocardium_lv", "left_atrium", "left_ventricle", "ascending_aorta"),
    class_of={0: 0, 205: 1, 420: 2, 421: 2, 500: 3, 820: 4, 550: 0, 600: 0, 850: 0},
)
_NAME = re.compile(r"(?P<modality>ct|mr)_train_(?P<number>\d{4})_(?P<kind>image|label)\.nii(\.gz)?")
_NUMBERS = tuple(str(number) for number in range(1001, 1021))


def plan_mmwhs(root: Path, *, source: Modality = "ct") -> PreparationPlan:
    """Plan CT to MR or MR to CT.

    Args:
        root: Folder that holds the unpacked archives.
        source: Modality of the source.

    Raises:
        InputError: If one of the 80 files is not there, or there twice.
    """
    files: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for path in files_below(root):
        if match := _NAME.fullmatch(path.name):
            files[match["modality"], match["number"], match["kind"]].append(path)
    wanted = [(modality, number, kind) for modality in TEST for number in _NUMBERS for kind in ("image", "label")]
    if odd := ["_".join(key) for key in wanted if len(files[key]) != 1]:
        found = f"{len(odd)} of 80 files missing or there twice, the first is {odd[0]}"
        raise refuse_incomplete(LAYOUT, root, found, "ct_train_ and mr_train_1001 to 1020, each an image and a label")
    target: Modality = "mr" if source == "ct" else "ct"
    centres = [_centre("source", source, files), _centre("target", target, files)]
    split = "structures and test scans of SIFA and ASC; three of the target's others, drawn with seed 0, to develop on"
    return plan_published(LAYOUT, split, centres, ["scans named *_test_* have no labels and are not used"])


def _centre(
    role: Literal["source", "target"], modality: Modality, files: dict[tuple[str, str, str], list[Path]]
) -> PublishedCentre:
    cases = [
        ListedCase(
            case_id=f"{modality}_{number}",
            patient=f"{modality}_{number}",  # the two modalities are of different people, whatever their numbers
            place=files[modality, number, "image"][0],
            image=NiftiFile(path=files[modality, number, "image"][0]),
            label_map=NiftiFile(path=files[modality, number, "label"][0]),
        )
        for number in _NUMBERS
    ]
    parts: dict[str, Part] = {case.case_id: "train" for case in cases}
    test = [f"{modality}_{number}" for number in TEST[modality]]
    if role == "target":
        others = shuffled(parts.keys() - set(test), seed=SEED)
        parts |= dict.fromkeys(others[:NUM_DEVELOPMENT], "development")
    parts |= dict.fromkeys(test, "test")
    return PublishedCentre(
        name=f"{role}_{modality}", channel_name=modality.upper(), classes=CLASSES, cases=cases, parts=parts
    )
