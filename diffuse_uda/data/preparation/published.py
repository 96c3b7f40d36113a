"""What the published data sets have in common: public case names, and splits that are theirs or drawn once for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.contract import ListedCase, Part
from diffuse_uda.data.preparation.plan import CentrePlan, Classes, PlannedCase, PreparationPlan, checked_plan
from diffuse_uda.data.preparation.splits import HeldOut, drawn_parts, shuffled
from diffuse_uda.errors import InputError
from diffuse_uda.types import SiteRole

SEED = 0
"""Of every draw in a published data set: one split for everybody who prepares it."""
TEST_SHARE = 0.2
DEVELOPMENT_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedCentre:
    """One centre of a published data set."""

    name: str
    """`source_...` or `target_...`."""
    channel_name: str
    classes: Classes
    cases: Sequence[ListedCase]
    parts: Mapping[str, Part]
    """Part of every case, by `case_id`."""


def plan_published(
    layout: str, split: str, centres: Iterable[PublishedCentre], notes: Sequence[str] = ()
) -> PreparationPlan:
    """Plan the centres of a published data set, under its own public case names.

    Args:
        layout: Name of the data set.
        split: How the parts were chosen, in words.
        centres: With their parts.
        notes: What was left out, and why.

    Raises:
        InputError: As `checked_plan`.
    """
    plans = [
        CentrePlan(
            name=centre.name,
            channel_name=centre.channel_name,
            classes=centre.classes,
            cases=tuple(
                PlannedCase(case_id=case.case_id, listed=case, part=centre.parts[case.case_id])
                for case in sorted(centre.cases, key=lambda case: case.case_id)
            ),
        )
        for centre in centres
    ]
    return checked_plan(
        PreparationPlan(
            layout=layout, split=split, centres=tuple(plans), case_names_are_private=False, notes=tuple(notes)
        )
    )


def usual_parts(cases: Sequence[ListedCase], role: SiteRole) -> dict[str, Part]:
    """Draw a fifth of the people to test on and, at a target, a tenth to develop on, where a paper names none."""
    people = len({case.patient for case in cases})
    num_development = round(people * DEVELOPMENT_SHARE) if role is SiteRole.TARGET else 0
    held_out = HeldOut(num_test=round(people * TEST_SHARE), num_development=num_development)
    return drawn_parts(cases, held_out, seed=SEED)


def halves(cases: Iterable[ListedCase]) -> tuple[frozenset[str], frozenset[str]]:
    """Two groups of people of the same size, for data sets in which everybody has both looks.

    Returns:
        Names of the people of the source and of the target.
    """
    order = shuffled((case.patient for case in cases), seed=SEED)
    return frozenset(order[: len(order) // 2]), frozenset(order[len(order) // 2 :])


def refuse_incomplete(layout: str, root: Path, found: str, wanted: str) -> InputError:
    """The error of a tree that is not the data set as published."""
    rule = BrokenRuleError(
        "not-as-published",
        found=found,
        wanted=wanted,
        fix="name the folder into which the data set's archives were unpacked, with every file in it",
    )
    return InputError([rule.at(centre=layout, file=str(root))])
