"""Who is trained on, who is developed on, who is tested on: the same people every time, whatever the order of files.

People are put in order by a hash of their name and a seed. So adding a person moves nobody else's place in the order,
and neither the file system nor the number of processes has a say.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diffuse_uda.data.formats.contract import ListedCase, Part
from diffuse_uda.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """How many people are not trained on."""

    num_development: int = 0
    num_test: int = 0

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        if min(self.num_development, self.num_test) < 0:
            msg = f"held-out people: found {self.num_development} and {self.num_test}, wanted 0 or more"
            raise ConfigError(msg)


def shuffled(names: Iterable[str], *, seed: int) -> list[str]:
    """Put names into an order that looks random and is always the same."""
    return sorted(set(names), key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))


def drawn_parts(cases: Sequence[ListedCase], held_out: HeldOut, *, seed: int) -> dict[str, Part]:
    """Draw the parts of a centre's people.

    Only people all of whose scans have label maps are held out: nothing else can be scored. Whether a label map is
    there is all that is looked at.

    Args:
        cases: Of one centre.
        held_out: How many people for development and test.
        seed: Of the order.

    Returns:
        Part of every case, by `case_id`.

    Raises:
        ConfigError: If nobody would be left to train with.
    """
    of_person: defaultdict[str, list[ListedCase]] = defaultdict(list)
    for case in cases:
        of_person[case.patient].append(case)
    labelled = [name for name, own in of_person.items() if all(case.label_map is not None for case in own)]
    order = shuffled(labelled, seed=seed)
    num_out = held_out.num_test + held_out.num_development
    if num_out > len(labelled) or num_out >= len(of_person):
        msg = (
            f"{held_out.num_development} people for development and {held_out.num_test} to test: there are "
            f"{len(of_person)} in all and {len(labelled)} with label maps; wanted at least one to train with"
        )
        raise ConfigError(msg)
    part_of = dict.fromkeys(of_person, _train())
    part_of |= dict.fromkeys(order[: held_out.num_test], "test")
    part_of |= dict.fromkeys(order[held_out.num_test : num_out], "development")
    return {case.case_id: part_of[case.patient] for case in cases}


def given_parts(cases: Sequence[ListedCase]) -> Mapping[str, Part]:
    """The parts that the layout itself names; a case without one is trained on."""
    return {case.case_id: case.part or _train() for case in cases}


def _train() -> Part:
    return "train"
