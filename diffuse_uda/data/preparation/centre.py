"""One centre from a listing: new names for its cases, its parts, and classes numbered without gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diffuse_uda.data.formats.contract import ListedCase, Listing
from diffuse_uda.data.preparation.plan import CentrePlan, Classes, PlannedCase, PreparationPlan, checked_plan
from diffuse_uda.data.preparation.splits import HeldOut, drawn_parts, given_parts, shuffled
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole


@dataclass(frozen=True, kw_only=True, slots=True)
class CentreWish:
    """What the operator says about the centre."""

    role: SiteRole
    name: str
    """The folder will be called `<role>_<name>`."""
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Structure to its numbers in the label maps, in the order of the classes; empty to take what the layout names."""
    channel_name: str = ""
    """Modality or sequence; empty to take the layout's."""
    held_out: HeldOut | None = None
    """None to take the layout's split; everybody is trained on where it has none."""
    seed: int = 0


def plan_centre(layout: str, listing: Listing, wish: CentreWish) -> PreparationPlan:
    """Plan one centre under new case names.

    Args:
        layout: Name of the format.
        listing: The data set's cases.
        wish: Role, name, labels and split.

    Returns:
        A checked plan.

    Raises:
        ConfigError: If nobody says what the labels or the channel are, or too many people are held out.
        InputError: As `checked_plan`.
    """
    channel_name = wish.channel_name or listing.channel_name
    if not channel_name:
        msg = f"the layout {layout} does not say which modality the scans are: wanted --channel NAME, such as CT"
        raise ConfigError(msg)
    if wish.held_out is None:
        parts = given_parts(listing.cases)
        has_split = any(case.part is not None for case in listing.cases)
        split = "the data set's own" if has_split else "nobody is held out"
    else:
        parts = drawn_parts(listing.cases, wish.held_out, seed=wish.seed)
        split = f"people in the order of SHA-256 of seed {wish.seed} and name: test, then development, then training"
    new_names = pseudonyms(listing.cases, seed=wish.seed)
    cases = sorted(
        (PlannedCase(case_id=new_names[case.case_id], listed=case, part=parts[case.case_id]) for case in listing.cases),
        key=lambda case: case.case_id,
    )
    centre = CentrePlan(
        name=f"{wish.role}_{wish.name}",
        channel_name=channel_name,
        classes=classes_by(layout, listing.label_names, wish.labels),
        cases=tuple(cases),
    )
    return checked_plan(
        PreparationPlan(layout=layout, split=split, centres=(centre,), case_names_are_private=True, notes=listing.notes)
    )


def pseudonyms(cases: Sequence[ListedCase], *, seed: int) -> dict[str, str]:
    """Name cases `case0001`, ... in an order that says nothing about their own names."""
    order = shuffled((case.case_id for case in cases), seed=seed)
    return {name: f"case{number:04d}" for number, name in enumerate(order, start=1)}


def classes_by(layout: str, known: Mapping[int, str], wanted: Mapping[str, tuple[int, ...]]) -> Classes:
    """Number the classes from 1 on.

    Args:
        layout: Name of the format, for the message.
        known: Number in the label maps to structure, as far as the layout says.
        wanted: Structure to numbers; several numbers become one class. Empty for every known structure.

    Returns:
        Known structures that are not wanted become background; numbers that nobody knows stay an error.

    Raises:
        ConfigError: If nothing is known and nothing wanted, or one number is wanted twice.
    """
    chosen = dict(wanted) or _by_name(known)
    numbers = [number for several in chosen.values() for number in several]
    if not chosen or any(not several for several in chosen.values()):
        msg = f"the layout {layout} does not name its labels: wanted --label NAME=NUMBER, once for every structure"
        raise ConfigError(msg)
    if len(set(numbers)) < len(numbers) or min(numbers) < 0 or 0 in numbers:
        msg = f"labels {chosen}: wanted every number once, from 1 on (0 is the background)"
        raise ConfigError(msg)
    class_of = {0: 0, **dict.fromkeys(known, 0)}
    for klass, several in enumerate(chosen.values(), start=1):
        class_of |= dict.fromkeys(several, klass)
    return Classes(names=tuple(chosen), class_of=class_of)


def _by_name(known: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Two numbers of one name are one structure."""
    names: dict[str, tuple[int, ...]] = {}
    for number, name in sorted(known.items()):
        names[name] = (*names.get(name, ()), number)
    return names
