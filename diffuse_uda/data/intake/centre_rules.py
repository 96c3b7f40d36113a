"""Rules of a centre as a whole: what its names promise, and what is left once broken cases are out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CentreFolder
from diffuse_uda.data.intake.case_check import CheckedCase
from diffuse_uda.data.intake.cohort_rules import judge_orientations
from diffuse_uda.data.rules import Reaction, reaction_to
from diffuse_uda.errors import Finding
from diffuse_uda.types import SiteRole

MAX_OTHER_MODALITY = 0.1
"""Share of a centre's scans."""
_OTHER_MODALITY = frozenset({"not-hounsfield", "modality-mismatch"})


def names_by_value(centre: CentreFolder) -> dict[int, str]:
    """Structures by what stands in the label maps."""
    values = centre.label_values or tuple(centre.label_names)
    return dict(zip(values, centre.label_names.values(), strict=True))


def judge_names(centre: CentreFolder, role: SiteRole, label_names: Mapping[int, str] | None) -> Iterator[Finding]:
    """What can be said before any scan is opened.

    Args:
        centre: As listed, with all label maps.
        role: What the centre is in this run.
        label_names: The source's classes, if they are known.
    """
    description = str(centre.root / "dataset.json")
    if label_names is not None and centre.label_names and centre.label_names != dict(sorted(label_names.items())):
        yield _labels_differ(centre, label_names).at(centre=centre.site_id, file=description)
    if centre.num_training is not None and centre.num_training != len(centre.train):
        found = f"numTraining {centre.num_training}, {len(centre.train)} scans in imagesTr"
        yield BrokenRuleError("wrong-num-training", found=found).at(centre=centre.site_id, file=description)
    labelled = [case for case in centre.train if case.label_map is not None]
    labels_folder = str(centre.root / "labelsTr")
    if role is SiteRole.TARGET:
        if labelled:
            found = f"label maps for {len(labelled)} training scans of a target"
            rule = BrokenRuleError("target-has-training-labels", found=found)
            yield rule.at(centre=centre.site_id, file=labels_folder)
    elif centre.train and not labelled:
        found = f"{len(centre.train)} scans in imagesTr and no label map in labelsTr"
        yield BrokenRuleError("no-labels-at-source", found=found).at(centre=centre.site_id, file=labels_folder)
    else:
        for case in centre.train:
            if case.label_map is None and case.case_id not in centre.unlabelled:
                rule = BrokenRuleError("image-without-label-map", found=f"no labelsTr/{case.case_id}.nii.gz")
                yield rule.at(centre=centre.site_id, case=case.case_id, file=str(case.image))


def judge_what_is_left(
    offered: CentreFolder,
    admitted: CentreFolder,
    checked: Sequence[CheckedCase],
    findings: Sequence[Finding],
    role: SiteRole,
) -> Iterator[Finding]:
    """What can be said once every scan was seen.

    Args:
        offered: The centre as listed.
        admitted: The same without the quarantined cases.
        checked: Every case that was listed.
        findings: Everything so far.
        role: What the centre is in this run.
    """
    images = str(offered.root / "imagesTr")
    site_id, description = offered.site_id, str(offered.root / "dataset.json")
    num_other = sum(finding.rule in _OTHER_MODALITY for finding in findings)
    if num_other > MAX_OTHER_MODALITY * max(1, len(checked)):
        found = f"{num_other} of {len(checked)} scans are not what channel_names ({offered.channel_name!r}) says"
        yield BrokenRuleError("wrong-modality", found=found).at(centre=site_id, file=description)
    if (words := judge_orientations(checked)) is not None:
        yield BrokenRuleError("mixed-orientations", found=words).at(centre=site_id, file=str(offered.root))
    left = {case.case_id for case in (*admitted.train, *admitted.test)}
    used = [case for case in checked if case.case_id in left]
    num_lost = len(_lost_training_scans(offered, findings))
    num_offered, num_left = num_lost + len(admitted.train), len(admitted.train)
    if num_lost and 2 * num_left < num_offered:
        found = f"{num_left} of {num_offered} training scans are left"
        yield BrokenRuleError("too-few-left", found=found).at(centre=site_id, file=images)
    elif num_left == 1:
        yield BrokenRuleError("few-cases", found="one training scan").at(centre=site_id, file=images)
    if role is SiteRole.SOURCE and num_left:
        yield from _absent_classes("class-absent", [case for case in used if case.is_training], offered, "training")
    yield from _absent_classes("class-absent-here", [case for case in used if not case.is_training], offered, "scored")


def _lost_training_scans(offered: CentreFolder, findings: Sequence[Finding]) -> set[str]:
    """Files of training scans that are quarantined, those that could not be listed included."""
    ids = {case.case_id: str(case.image) for case in offered.train}
    folder = str(offered.root / "imagesTr")
    return {
        ids.get(finding.case, finding.file)
        for finding in findings
        if reaction_to(finding.rule) is Reaction.CASE and (finding.case in ids or finding.file.startswith(folder))
    }


def _absent_classes(rule: str, cases: Sequence[CheckedCase], centre: CentreFolder, kind: str) -> Iterator[Finding]:
    labelled = [case.labels for case in cases if case.labels is not None]
    if not labelled:
        return
    present = {value for labels in labelled for value in labels.values}
    for value, name in names_by_value(centre).items():
        if value != 0 and value not in present:
            found = f"no voxel of {value} ({name}) in any of {len(labelled)} {kind} cases"
            yield BrokenRuleError(rule, found=found).at(centre=centre.site_id, file=str(centre.root / "dataset.json"))


def _labels_differ(centre: CentreFolder, wanted: Mapping[int, str]) -> BrokenRuleError:
    differences = [
        f"{value}: {centre.label_names.get(value, '(missing)')!r} here, {wanted.get(value, '(missing)')!r} there"
        for value in sorted(centre.label_names.keys() | wanted.keys())
        if centre.label_names.get(value) != wanted.get(value)
    ]
    return BrokenRuleError("label-maps-differ", found="; ".join(differences))
