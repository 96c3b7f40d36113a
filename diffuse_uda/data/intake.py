"""The gate: what a centre's folder must satisfy before round 1.

Every scan is read once, here; every broken rule of every case is reported together, because a site that learns of
its problems one by one has to restart a federation as often. Each problem names its case, so a later quarantine can
take single cases out instead of stopping the run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CaseFiles, CentreFolder, list_centre, without_training_labels
from diffuse_uda.data.scan_checks import check_image, check_label_map, is_anisotropic
from diffuse_uda.data.volumes import Volume, load_volume
from diffuse_uda.errors import Finding, InputError
from diffuse_uda.types import SiteRole


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeReport:
    """A centre that may take part, and what its people should still know."""

    centre: CentreFolder
    role: SiteRole
    warnings: list[Finding] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class _Inspection:
    """What has been seen of one centre so far."""

    site_id: str
    problems: list[Finding]
    warnings: list[Finding]
    images_by_content: dict[bytes, CaseFiles] = field(default_factory=dict)
    training_classes: set[int] = field(default_factory=set)
    has_unread_label_maps: bool = False

    def problem(self, rule: BrokenRuleError, case: CaseFiles, file: Path) -> None:
        self.problems.append(rule.at(centre=self.site_id, case=case.case_id, file=str(file)))

    def warn(self, rule: str, *, found: str, wanted: str, fix: str, case: str = "-", file: str = "-") -> None:
        self.warnings.append(
            Finding(rule=rule, centre=self.site_id, case=case, file=file, found=found, wanted=wanted, fix=fix)
        )


def check_centre(
    root: Path, role: SiteRole, *, site_id: str, label_names: Mapping[int, str] | None = None
) -> IntakeReport:
    """Check everything a centre brings into a run.

    Args:
        root: The centre's folder, in the nnU-Net v2 layout.
        role: What the centre is in this run: only a source needs, and only a source may use, training labels.
        site_id: Name in messages and reports.
        label_names: The source's classes; a centre with others is refused.

    Returns:
        The centre, with the training labels of a target out of reach, and warnings.

    Raises:
        InputError: With every broken rule of every case.
    """
    listing = list_centre(root, site_id)
    seen = _Inspection(site_id=site_id, problems=list(listing.problems), warnings=list(listing.warnings))
    centre = listing.centre
    if label_names is not None and centre.label_names:
        _check_label_names(seen, centre, label_names)
    _check_counts(seen, centre)
    if role is SiteRole.TARGET:
        _warn_of_training_labels(seen, centre)
        centre = without_training_labels(centre)
    elif centre.train:
        _check_source_has_label_maps(seen, centre)
    for case in centre.train:
        values = _check_case(seen, centre, case)
        seen.training_classes.update(values)
        seen.has_unread_label_maps |= case.label_map is not None and not values
    for case in centre.test:
        _check_case(seen, centre, case)
    if role is SiteRole.SOURCE and centre.train:
        _check_every_class_occurs(seen, centre)
    if seen.problems:
        raise InputError(seen.problems)
    return IntakeReport(centre=centre, role=role, warnings=seen.warnings)


def check_federation(sites: Sequence[tuple[str, SiteRole]]) -> None:
    """Check who takes part.

    Args:
        sites: Name and role of every site.

    Raises:
        InputError: Unless there is exactly one source, at least one target, and every name occurs once.
    """
    broken: list[tuple[str, BrokenRuleError]] = []
    sources = [name for name, role in sites if role is SiteRole.SOURCE]
    targets = [name for name, role in sites if role is SiteRole.TARGET]
    if not sources:
        broken.append(("-", _membership("no-source", "no source", "name the labelled centre")))
    if len(sources) > 1:
        found = f"{len(sources)} sources: {', '.join(sources)}"
        broken.append((sources[1], _membership("several-sources", found, "keep one of them")))
    if not targets:
        broken.append(("-", _membership("no-targets", "no target", "add a centre with unlabelled scans")))
    for name, count in Counter(name.casefold() for name, _ in sites).items():
        if count > 1:
            found = f"{count} sites named {name!r} (upper and lower case count as the same)"
            broken.append((name, _membership("repeated-site-name", found, "give every site a name of its own")))
    if broken:
        raise InputError([rule.at(centre=site) for site, rule in broken])


def _membership(rule: str, found: str, fix: str) -> BrokenRuleError:
    return BrokenRuleError(
        rule, found=found, wanted="one source and at least one target, each with a name of its own", fix=fix
    )


def _check_case(seen: _Inspection, centre: CentreFolder, case: CaseFiles) -> set[int]:
    """Look at one case; the classes in its label map, if that could be read."""
    image: Volume | None = None
    try:
        image = load_volume(case.image)
        check_image(image)
    except BrokenRuleError as rule:
        seen.problem(rule, case, case.image)
    if image is not None:
        _check_copies(seen, case, image)
        if is_anisotropic(image):
            seen.warn(
                "anisotropic-voxels",
                case=case.case_id,
                file=str(case.image),
                found=f"voxels of {image.spacing_mm} mm",
                wanted="edges within a factor of ten",
                fix="expect blurred results across the slices",
            )
    if case.label_map is None:
        return set()
    try:
        label_map = load_volume(case.label_map)
    except BrokenRuleError as rule:
        seen.problem(rule, case, case.label_map)
        return set()
    values, broken = check_label_map(label_map, image, centre.label_names)
    for broken_rule in broken:
        seen.problem(broken_rule, case, case.label_map)
    if not broken and values.max(initial=0) == 0:
        seen.warn(
            "empty-label-map",
            case=case.case_id,
            file=str(case.label_map),
            found="background only",
            wanted="at least one structure",
            fix="check whether the segmentation was saved",
        )
    return set(values.tolist())


def _check_copies(seen: _Inspection, case: CaseFiles, image: Volume) -> None:
    content = hashlib.blake2b(image.voxels.data.cast("B"), person=str(image.shape).encode()[:16]).digest()
    first = seen.images_by_content.setdefault(content, case)
    if first is not case:
        rule = BrokenRuleError(
            "repeated-image",
            found=f"the same voxels as case {first.case_id} ({first.image.parent.name}/{first.image.name})",
            wanted="a scan of its own in every case",
            fix="take the copy out: it would count twice, or be tested on what it trained",
        )
        seen.problem(rule, case, case.image)


def _check_label_names(seen: _Inspection, centre: CentreFolder, wanted: Mapping[int, str]) -> None:
    if list(centre.label_names.items()) == sorted(wanted.items()):
        return
    differences = [
        f"{value}: {centre.label_names.get(value, '(missing)')!r} here, {wanted.get(value, '(missing)')!r} there"
        for value in sorted(centre.label_names.keys() | wanted.keys())
        if centre.label_names.get(value) != wanted.get(value)
    ]
    rule = BrokenRuleError(
        "label-maps-differ",
        found="; ".join(differences),
        wanted="the labels of the source, with the same names and numbers",
        fix="make `labels` in dataset.json the same at all centres, and renumber label maps where they differ",
    )
    seen.problems.append(rule.at(centre=seen.site_id, file=str(centre.root / "dataset.json")))


def _check_counts(seen: _Inspection, centre: CentreFolder) -> None:
    if centre.num_training is not None and centre.num_training != len(centre.train):
        seen.warn(
            "wrong-num-training",
            file=str(centre.root / "dataset.json"),
            found=f"numTraining {centre.num_training}, {len(centre.train)} scans in imagesTr",
            wanted="the number of scans",
            fix="the scans that are there are used; correct the number",
        )


def _warn_of_training_labels(seen: _Inspection, centre: CentreFolder) -> None:
    labelled = [case.case_id for case in centre.train if case.label_map is not None]
    if labelled:
        seen.warn(
            "target-has-training-labels",
            file=str(centre.root / "labelsTr"),
            found=f"label maps for {len(labelled)} training scans of a target",
            wanted="none: a target is adapted to without labels",
            fix="they are ignored; keep them in oracle/labelsTr if a reference row should use them",
        )


def _check_source_has_label_maps(seen: _Inspection, centre: CentreFolder) -> None:
    missing = [case for case in centre.train if case.label_map is None]
    if len(missing) == len(centre.train):
        rule = BrokenRuleError(
            "no-labels-at-source",
            found=f"{len(missing)} scans in imagesTr and no label map in labelsTr",
            wanted="labelsTr/<case>.nii.gz for some scans at least: the source is what all centres learn from",
            fix="add the label maps, or give this centre the role of a target",
        )
        seen.problems.append(rule.at(centre=seen.site_id, file=str(centre.root / "labelsTr")))
        return
    for case in missing:
        if case.case_id in centre.unlabelled:
            continue
        rule = BrokenRuleError(
            "image-without-label-map",
            found=f"no labelsTr/{case.case_id}.nii.gz",
            wanted="a label map for every training scan of the source that is not declared to have none",
            fix="add it, name the scan under `unlabelled` in dataset.json, or take it out",
        )
        seen.problem(rule, case, case.image)


def _check_every_class_occurs(seen: _Inspection, centre: CentreFolder) -> None:
    if seen.has_unread_label_maps or not any(case.label_map is not None for case in centre.train):
        return
    for value in sorted(centre.label_names.keys() - seen.training_classes - {0}):
        rule = BrokenRuleError(
            "class-absent",
            found=f"no voxel of {value} ({centre.label_names[value]}) in any of {len(centre.train)} training cases",
            wanted="every structure of dataset.json in at least one case",
            fix="take the structure out of dataset.json, or add a case that shows it",
        )
        seen.problems.append(rule.at(centre=seen.site_id, file=str(centre.root / "dataset.json")))
