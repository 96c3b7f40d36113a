"""What is to be written: centres, the cases of each and their parts, and what becomes of every label."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.contract import ListedCase, Part
from diffuse_uda.errors import ConfigError, Finding, InputError
from diffuse_uda.types import SiteRole

_CENTRE_NAME = re.compile(r"(source|target)_[A-Za-z0-9][A-Za-z0-9_-]*")
_CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCase:
    """One case, its new name and its part."""

    case_id: str
    listed: ListedCase
    part: Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """The classes of a centre, numbered without gaps, and where they come from."""

    names: tuple[str, ...]
    """Structure of class 1, 2, ...; class 0 is the background."""
    class_of: Mapping[int, int]
    """Number in the data set's label maps to class; 0 for what is no structure here. Any other number is an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CentrePlan:
    """One centre folder."""

    name: str
    """Name of the folder: `source_...` or `target_...`."""
    channel_name: str
    classes: Classes
    cases: tuple[PlannedCase, ...]

    @property
    def role(self) -> SiteRole:
        """By its name."""
        return SiteRole(self.name.split("_", maxsplit=1)[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparationPlan:
    """All that is to be written."""

    layout: str
    split: str
    """How the parts were chosen, in words, for `dataset.json`."""
    centres: tuple[CentrePlan, ...]
    case_names_are_private: bool
    """Whether the data set's own names were replaced, so that a file has to say which is which."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""


def checked_plan(plan: PreparationPlan) -> PreparationPlan:
    """Refuse a plan that would spoil a study.

    Args:
        plan: As made for a layout.

    Returns:
        The same plan.

    Raises:
        ConfigError: If centres have no proper names or different classes.
        InputError: If a person is in two parts or two centres, a name occurs twice, a centre has nothing to train
            with, or a source's training scan has no label map.
    """
    names = [centre.name for centre in plan.centres]
    if bad := [name for name in names if not _CENTRE_NAME.fullmatch(name)]:
        msg = f"centre folders {bad}: wanted source_NAME or target_NAME, of letters, digits, _ and -"
        raise ConfigError(msg)
    if not names or len(set(names)) < len(names) or len({centre.classes.names for centre in plan.centres}) > 1:
        msg = f"centres {names}: wanted at least one, each with a name of its own, and the same classes at all of them"
        raise ConfigError(msg)
    findings = [*_people_in_two_places(plan.centres)]
    for centre in plan.centres:
        findings.extend(_problems_of(centre))
    if findings:
        raise InputError(findings)
    return plan


def _people_in_two_places(centres: Sequence[CentrePlan]) -> list[Finding]:
    places: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for centre in centres:
        for case in centre.cases:
            places[case.listed.patient].add((centre.name, case.part))
    findings = []
    for patient, where in sorted(places.items()):
        if len(where) > 1:
            rule = BrokenRuleError(
                "case-in-two-parts",
                found=f"scans of one person ({patient}) in {', '.join(' '.join(place) for place in sorted(where))}",
                wanted="every person in one part of one centre",
                fix="a model would be tested on people it has seen: correct the split of the data set",
            )
            findings.append(rule.at(centre=min(where)[0], case=patient))
    return findings


def _problems_of(centre: CentrePlan) -> list[Finding]:
    findings = []
    seen: dict[str, PlannedCase] = {}
    for case in centre.cases:
        if not _CASE_NAME.fullmatch(case.case_id) or ".." in case.case_id or case.case_id.casefold() in seen:
            rule = BrokenRuleError(
                "case-name",
                found=f"a case to be named {case.case_id!r}",
                wanted="a name of its own, of letters, digits, and . _ + - inside",
                fix="rename the case in the data set",
            )
            findings.append(rule.at(centre=centre.name, case=case.case_id, file=str(case.listed.place)))
        seen[case.case_id.casefold()] = case
        if centre.role is SiteRole.SOURCE and case.part == "train" and case.listed.label_map is None:
            rule = BrokenRuleError(
                "image-without-label-map",
                found="no label map",
                wanted="a label map for every training scan of the source",
                fix="add it, take the scan out, or make this centre a target",
            )
            findings.append(rule.at(centre=centre.name, case=case.listed.case_id, file=str(case.listed.place)))
    if not any(case.part == "train" for case in centre.cases):
        rule = BrokenRuleError(
            "no-cases", found="no case to train with", wanted="at least one", fix="hold fewer cases out, or add cases"
        )
        findings.append(rule.at(centre=centre.name))
    return findings
