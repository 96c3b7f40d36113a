"""FeTA 2021 and 2022 (Payette et al., Scientific Data 2021, arXiv:2010.15526): fetal brains on T2w reconstructions.

Layout, from the data set's description and the names in its releases 2.1 and 2.2: BIDS-like,
`sub-001/anat/sub-001_rec-mial_T2w.nii.gz` and `sub-001_rec-mial_dseg.nii.gz`, `rec-irtk` from sub-041 on, and the
reconstructions of the later hospitals likewise. Seven tissues: 1 cerebrospinal fluid outside the brain, 2 grey matter,
3 white matter, 4 ventricles, 5 cerebellum, 6 deep grey matter, 7 brainstem.

ASC and Diffuse-UDA adapt from 47 atlas volumes to the 80 brains of FeTA 2021: 40 unlabelled, 40 to test. Which 40 the
method notes do not say; here half the people of each reconstruction are tested on, drawn with seed 0. The atlases are
published apart and in layouts of their own, so their folder, patterns and numbers are options. Without an atlas, the
reconstruction `mial` is the source and every other one a target: the shift that is inside the data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.data.formats.bids import BESIDE, BidsChoice, list_bids, parse_name
from diffuse_uda.data.formats.contract import ListedCase, Part
from diffuse_uda.data.formats.folders import list_folders
from diffuse_uda.data.preparation.centre import classes_by
from diffuse_uda.data.preparation.plan import Classes, PreparationPlan
from diffuse_uda.data.preparation.published import SEED, PublishedCentre, plan_published, refuse_incomplete
from diffuse_uda.data.preparation.splits import HeldOut, drawn_parts, given_parts
from diffuse_uda.errors import ConfigError

LAYOUT = "feta"
SOURCE_RECONSTRUCTION = "mial"
TISSUES = (
    "external_cerebrospinal_fluid",
    "grey_matter",
    "white_matter",
    "ventricles",
    "cerebellum",
    "deep_grey_matter",
    "brainstem",
)
CLASSES = Classes(names=TISSUES, class_of={number: number for number in range(8)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Atlas:
    """Labelled atlas volumes in plain folders."""

    root: Path
    image_pattern: str
    label_pattern: str
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Tissue to its numbers in the atlas; empty where they are FeTA's."""


def plan_feta(root: Path, *, atlas: Atlas | None = None) -> PreparationPlan:
    """Plan atlas to FeTA, or one reconstruction to the others.

    Args:
        root: The folder with `sub-001` and so on.
        atlas: The source; None to take a reconstruction for it.

    Raises:
        ConfigError: If the atlas does not name all seven tissues.
        InputError: If a scan is ambiguous or has no label map, or there is nothing to adapt to.
    """
    listing = list_bids(root, BidsChoice(suffix="T2w", derivative=BESIDE))
    groups: defaultdict[str, list[ListedCase]] = defaultdict(list)
    for case in listing.cases:
        name = parse_name(case.place)
        groups["" if name is None else name.entities.get("rec", "")].append(case)
    if "" in groups or any(case.label_map is None for case in listing.cases):
        raise refuse_incomplete(LAYOUT, root, "scans without rec- or without a dseg", "sub-*_rec-*_T2w and _dseg")
    if atlas is not None:
        source = _atlas_centre(atlas)
        parts: dict[str, Part] = {}
        for own in groups.values():
            parts |= _half_to_test(own)
        targets = [_centre("target_feta", listing.cases, parts)]
        split = "all atlas volumes to train; half the people of each reconstruction to test, drawn with seed 0"
    else:
        if SOURCE_RECONSTRUCTION not in groups or len(groups) < 2:
            raise refuse_incomplete(LAYOUT, root, f"reconstructions {sorted(groups)}", "mial and another one")
        own = groups.pop(SOURCE_RECONSTRUCTION)
        source = _centre(f"source_{SOURCE_RECONSTRUCTION}", own, given_parts(own))
        targets = [_centre(f"target_{name}", cases, _half_to_test(cases)) for name, cases in sorted(groups.items())]
        split = "one reconstruction to train; half the people of the others to test, drawn with seed 0"
    return plan_published(LAYOUT, split, [source, *targets])


def _half_to_test(cases: Sequence[ListedCase]) -> dict[str, Part]:
    people = len({case.patient for case in cases})
    return drawn_parts(cases, HeldOut(num_test=people // 2), seed=SEED)


def _centre(name: str, cases: Sequence[ListedCase], parts: Mapping[str, Part]) -> PublishedCentre:
    return PublishedCentre(name=name, channel_name="T2w", classes=CLASSES, cases=cases, parts=parts)


def _atlas_centre(atlas: Atlas) -> PublishedCentre:
    listing = list_folders(atlas.root, atlas.image_pattern, atlas.label_pattern)
    if atlas.labels and set(atlas.labels) != set(TISSUES):
        msg = f"labels of the atlas: found {sorted(atlas.labels)}, wanted numbers for all of {sorted(TISSUES)}"
        raise ConfigError(msg)
    ordered = {tissue: atlas.labels[tissue] for tissue in TISSUES} if atlas.labels else {}
    classes = classes_by(LAYOUT, {}, ordered) if ordered else CLASSES
    parts = given_parts(listing.cases)
    return PublishedCentre(name="source_atlas", channel_name="T2w", classes=classes, cases=listing.cases, parts=parts)
