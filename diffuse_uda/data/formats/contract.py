"""What every reader of a layout gives: cases by name, and volumes that are loaded when their turn comes.

One contract for all formats:

- voxels have the axes (i, j, k) in the order in which the format stores them, one number each, slope and intercept
  applied; no reader reorients, resamples, crops or normalises;
- the affine takes (i, j, k) to the patient's world in mm, RAS+ (DICOM's LPS is turned round on the way in);
- a label map comes on the voxels of its image, with the numbers of its format; `Listing.label_names` names them.

A listing opens no voxels. What it holds can be sent to another process, which loads one case at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.volumes import Volume, load_volume
from diffuse_uda.errors import Finding, InputError

Part = Literal["train", "development", "test"]
PARTS: tuple[Part, ...] = ("train", "development", "test")


class ImageSource(Protocol):
    """A scan that has not been read yet."""

    def load(self) -> Volume:
        """Read it; a `BrokenRuleError` names the rule it breaks."""
        ...


class LabelSource(Protocol):
    """A label map that has not been read yet."""

    def load(self, image: Volume) -> Volume:
        """Read it; `image` is the scan it belongs to, for formats that draw on the scan's voxels."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NiftiFile:
    """A scan or a label map in a NIfTI single file."""

    path: Path

    def load(self, image: Volume | None = None) -> Volume:  # noqa: ARG002 - it says itself where its voxels are
        """Read it with every check of `load_volume`."""
        return load_volume(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedCase:
    """One case as its layout has it. Its names never leave the site."""

    case_id: str
    patient: str
    """Who it is: scans of one person must not get into two parts or two centres."""
    place: Path
    """File or folder, for messages."""
    image: ImageSource
    label_map: LabelSource | None = None
    part: Part | None = None
    """Where the layout itself puts the case; None where it does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A whole data set, by name."""

    cases: tuple[ListedCase, ...]
    """Sorted by `case_id`."""
    label_names: Mapping[int, str] = field(default_factory=dict)
    """Number in the label maps to structure, without the background; empty where the layout does not say."""
    channel_name: str = ""
    """Modality or sequence; empty where the layout does not say."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""


class Problems:
    """Broken rules of one layout, collected so that one run reveals them all."""

    def __init__(self, layout: str) -> None:
        """Begin without any; `layout` stands where findings name their centre."""
        self._layout = layout
        self._findings: list[Finding] = []

    def add(self, rule: BrokenRuleError, *, place: Path, case: str = "-") -> None:
        """Note one."""
        self._findings.append(rule.at(centre=self._layout, case=case, file=str(place)))

    def refuse_any(self) -> None:
        """Raise `InputError` with all of them, if there are any."""
        if self._findings:
            raise InputError(self._findings)


def finished_listing(
    layout: str,
    root: Path,
    cases: Iterable[ListedCase],
    problems: Problems,
    *,
    label_names: Mapping[int, str] | None = None,
    channel_name: str = "",
    notes: Sequence[str] = (),
) -> Listing:
    """Sort the cases and refuse what no layout may have: no case at all, or one name twice.

    Args:
        layout: Name of the format, in messages.
        root: The data set's folder.
        cases: In any order.
        problems: What the reader has found so far.
        label_names: Number in the label maps to structure.
        channel_name: Modality or sequence.
        notes: What was left out, and why.

    Raises:
        InputError: With every broken rule.
    """
    found = sorted(cases, key=lambda case: case.case_id)
    if not found:
        wanted = f"at least one case in the layout `{layout}`"
        rule = BrokenRuleError("no-cases", found="none", wanted=wanted, fix="check the folder and the options")
        problems.add(rule, place=root)
    names = Counter(case.case_id.casefold() for case in found)
    for name in sorted(name for name, count in names.items() if count > 1):
        rule = BrokenRuleError(
            "repeated-case-name",
            found=f"{names[name]} cases named {name!r} (upper and lower case count as the same)",
            wanted="a name of its own for every case",
            fix="rename them, or name more of the path in the pattern or the options",
        )
        problems.add(rule, place=root, case=name)
    problems.refuse_any()
    return Listing(
        cases=tuple(found),
        label_names=dict(sorted((label_names or {}).items())),
        channel_name=channel_name,
        notes=tuple(notes),
    )


def require_folder(layout: str, root: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        InputError: If it is not.
    """
    if not root.is_dir():
        found = "a file, not a folder" if root.exists() else "no such folder"
        rule = BrokenRuleError("missing-folder", found=found, wanted=f"a folder ({layout})", fix="correct the path")
        raise InputError([rule.at(centre=layout, file=str(root))])
