"""The table of the intake gate's rules: every finding refers to a row, and `docs/intake-rules.md` is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from diffuse_uda.data.rules.dataset import DATASET
from diffuse_uda.data.rules.dicom import DICOM, LAYOUTS
from diffuse_uda.data.rules.files import FILES
from diffuse_uda.data.rules.geometry import GEOMETRY
from diffuse_uda.data.rules.intensities import INTENSITIES
from diffuse_uda.data.rules.labels import LABELS
from diffuse_uda.data.rules.rule import Reaction, Remark, Rule

__all__ = ["GROUPS", "RULES", "Reaction", "Remark", "Rule", "reaction_to"]

GROUPS: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "Files and containers": FILES,
        "Geometry": GEOMETRY,
        "Intensities": INTENSITIES,
        "Labels": LABELS,
        "Data set and federation": DATASET,
        "DICOM": DICOM,
        "Layouts that `prepare` reads": LAYOUTS,
    }
)
RULES: Mapping[str, Rule] = MappingProxyType({rule.slug: rule for rules in GROUPS.values() for rule in rules})
"""By slug."""


def reaction_to(slug: str) -> Reaction:
    """What happens when a rule is broken; a rule that is not in the table refuses the centre: nobody has judged it."""
    return RULES[slug].reaction if slug in RULES else Reaction.RUN
