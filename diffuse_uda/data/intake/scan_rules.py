"""Judgements about one scan or label map by its facts alone; each says in the table of rules what it cannot see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.intake.label_facts import LabelFacts
from diffuse_uda.data.intake.scan_facts import MIN_MARKS, ScanFacts

MAX_CLIPPED_SHARE = 1e-4
MIN_AIR_SHARE = 0.01
INVERTED_BY_HU = 500.0
NUM_CORNERS = 7
"""Of eight: a table or an arm may reach one corner."""
MIN_FILLED_SHARE = 0.1
MAX_SPECKS = 0.02

_CT = re.compile(r"ct|cta|cbct|computed[ _-]?tomography", re.IGNORECASE)
_MRI = re.compile(
    r"(?:.*[ _-])?(?:mr|mri|t1|t1w|t1n|t1ce|t1c|t1gd|t2|t2w|t2f|t2star|flair|pd|pdw|adc|dwi|swi|bssfp|lge)(?:[ _-].*)?",
    re.IGNORECASE,
)


class Modality(StrEnum):
    """What `channel_names` declares."""

    CT = "CT"
    MRI = "MRI"
    UNDECLARED = "undeclared"


def declared_modality(channel_name: str) -> Modality:
    """Read a modality from the name of a channel, such as `CT` or `T1w`."""
    if _CT.fullmatch(channel_name.strip()):
        return Modality.CT
    return Modality.MRI if _MRI.fullmatch(channel_name.strip()) else Modality.UNDECLARED


def judge_scan(facts: ScanFacts, modality: Modality) -> Iterator[BrokenRuleError]:
    """Say what is odd about a scan."""
    yield from _judge_modality(facts, modality)
    if max(facts.spacing_mm) > 10.0 * min(facts.spacing_mm):
        yield BrokenRuleError("anisotropic-voxels", found=f"voxels of {facts.spacing_mm} mm")
    if facts.is_scaled and facts.stored_as.startswith(("int", "uint")):
        yield BrokenRuleError("quantised-voxels", found=f"{facts.stored_as} with a scale in the header")
    if facts.clipped_share > MAX_CLIPPED_SHARE:
        found = f"{100 * facts.clipped_share:.2g} % of the voxels are at the end of {facts.stored_as}"
        yield BrokenRuleError("clipped-intensities", found=found)
    if facts.num_marked_columns >= MIN_MARKS:
        found = f"{facts.num_marked_columns} columns of the largest value through all slices"
        yield BrokenRuleError("burned-in-marks", found=found)
    if facts.filled_share < MIN_FILLED_SHARE:
        found = f"a body that fills {100 * facts.filled_share:.2g} % of its box"
        yield BrokenRuleError("empty-border", found=found)
    if is_normalised(facts):
        found = f"{facts.stored_as} from {facts.lowest:.3g} to {facts.highest:.3g}, mean {facts.mean:.2g}"
        yield BrokenRuleError("normalised-intensities", found=found)


def _judge_modality(facts: ScanFacts, modality: Modality) -> Iterator[BrokenRuleError]:
    if modality is Modality.CT:
        if facts.lowest >= 0:
            found = f"numbers from {facts.lowest:g} to {facts.highest:g} where channel_names says CT"
            yield BrokenRuleError("not-hounsfield", found=found)
        elif facts.corners_over_middle >= INVERTED_BY_HU:
            found = f"corners {facts.corners_over_middle:.0f} above the middle"
            yield BrokenRuleError("inverted-ct", found=found)
        return
    if modality is Modality.MRI and facts.air_share >= MIN_AIR_SHARE:
        found = f"{100 * facts.air_share:.2g} % of the voxels below -500, like air in CT, where channel_names says MRI"
        yield BrokenRuleError("modality-mismatch", found=found)
    elif facts.num_bright_corners >= NUM_CORNERS:
        yield BrokenRuleError(
            "bright-background", found=f"{facts.num_bright_corners} of 8 corners are as bright as it gets"
        )


def is_normalised(facts: ScanFacts) -> bool:
    """Whether a scan was brought to 0 to 1, or to mean 0 and standard deviation 1, before it came here."""
    if not facts.stored_as.startswith("float"):
        return False
    if facts.lowest >= 0:
        return facts.highest <= 1.0
    return abs(facts.mean) < 0.5 and 0.3 < facts.std < 3.0 and facts.highest - facts.lowest < 50.0


def judge_labels(facts: LabelFacts, names: Mapping[int, str], *, demands_foreground: bool) -> Iterator[BrokenRuleError]:
    """Say what is odd about a label map.

    Args:
        facts: Of a label map whose values are all known.
        names: Structures by their value in the file.
        demands_foreground: Whether a label map without any structure takes its case out.
    """
    if facts.num_labelled == 0:
        yield BrokenRuleError("no-foreground" if demands_foreground else "empty-label-map", found="background only")
    if facts.num_specks > MAX_SPECKS * facts.num_labelled:
        found = f"{facts.num_specks} lone voxels or holes among {facts.num_labelled} labelled voxels"
        yield BrokenRuleError("specks-in-label-map", found=found)
    for left, right in sided_pairs(names):
        if left in facts.right_mm and right in facts.right_mm and facts.right_mm[left] > facts.right_mm[right]:
            found = f"{names[left]} lies to the right of {names[right]}"
            yield BrokenRuleError("left-right-swapped", found=found)


def sided_pairs(names: Mapping[int, str]) -> list[tuple[int, int]]:
    """Values of two structures, the first of which belongs on the left: `left_lung`, `right_lung`; spleen, liver."""
    values = {name.casefold(): value for value, name in names.items()}
    pairs = [
        (value, values[other])
        for name, value in values.items()
        if "left" in name
        and (other := re.sub(r"\bleft\b|(?<=_)left(?=_|$)|^left(?=_)", "right", name)) != name
        and other in values
    ]
    return [*pairs, *([(values["spleen"], values["liver"])] if {"spleen", "liver"} <= values.keys() else [])]
