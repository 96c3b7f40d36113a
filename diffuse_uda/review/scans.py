"""Which scans are looked at, with the predictions and references that lie aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CaseFiles, CentreFolder, evaluation_cases, read_centre
from diffuse_uda.data.volumes import FILE_ENDINGS
from diffuse_uda.errors import Finding, InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewScan:
    """One scan to look at."""

    case_id: str
    image: Path
    prediction: Path | None = None
    """A segmentation that is there already."""
    reference: Path | None = None
    """What somebody drew; for scores alone."""


def find_scans(places: Sequence[Path]) -> list[ReviewScan]:
    """Find scans, each under its name without nnU-Net's channel suffix `_0000`.

    Args:
        places: NIfTI files, folders of them, or centres' folders in the nnU-Net layout. Of a centre all scans are
            taken, and references of held-out scans alone: label maps of training scans stay out of reach.

    Returns:
        Sorted by case id.

    Raises:
        InputError: If nothing is found, a folder breaks its layout, or two scans share a name.
    """
    found: list[ReviewScan] = []
    for place in places:
        if (place / "dataset.json").is_file():
            found += centre_scans(read_centre(place))
        else:
            files = sorted(place.iterdir()) if place.is_dir() else [place]
            found += [
                ReviewScan(case_id=case_name(file), image=file) for file in files if file.name.endswith(FILE_ENDINGS)
            ]
    _require_names(found, places)
    return sorted(found, key=lambda scan: scan.case_id)


def centre_scans(centre: CentreFolder, part: Literal["development", "test", "all"] = "all") -> list[ReviewScan]:
    """All scans of a centre, with references of the held-out ones.

    Args:
        centre: A centre's folder.
        part: Which held-out scans may be scored: `development`, `test` or `all`.
    """
    scored = {case.case_id for case in evaluation_cases(centre, part)}

    def scan_of(case: CaseFiles) -> ReviewScan:
        return ReviewScan(
            case_id=case.case_id, image=case.image, reference=case.label_map if case.case_id in scored else None
        )

    train = [replace(scan_of(case), reference=None) for case in centre.train]
    return [*train, *(scan_of(case) for case in centre.test)]


def with_predictions(scans: Sequence[ReviewScan], folder: Path) -> list[ReviewScan]:
    """Take along the segmentations that lie in a folder under the cases' names."""
    return [replace(scan, prediction=_lies_in(folder, scan.case_id)) for scan in scans]


def with_references(scans: Sequence[ReviewScan], folder: Path) -> list[ReviewScan]:
    """Take along the references that lie in a folder under the cases' names."""
    return [replace(scan, reference=_lies_in(folder, scan.case_id)) for scan in scans]


def case_name(file: Path) -> str:
    """Name of a case: that of its file without ending and channel."""
    return file.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")


def _lies_in(folder: Path, case_id: str) -> Path | None:
    return next((file for ending in FILE_ENDINGS if (file := folder / f"{case_id}{ending}").is_file()), None)


def _require_names(scans: Sequence[ReviewScan], places: Sequence[Path]) -> None:
    if not scans:
        places_said = ", ".join(map(str, places)) or "nowhere"
        rule = BrokenRuleError(
            "no-cases",
            found=f"no scan in {places_said}",
            wanted=f"files ending in {' or '.join(FILE_ENDINGS)}, or a centre's folder with dataset.json",
            fix="name the folder that holds the scans",
        )
        raise InputError([rule.at(centre="-", file=places_said)])
    by_name: dict[str, list[Path]] = {}
    for scan in scans:
        by_name.setdefault(scan.case_id.casefold(), []).append(scan.image)
    repeated = [
        Finding(
            rule="repeated-case-name",
            centre="-",
            case=files[0].name,
            file=str(files[0].parent),
            found=f"one name for {', '.join(file.name for file in files)} (upper and lower case count as the same)",
            wanted="a name of its own for every scan",
            fix="rename them, or make a report for each folder",
        )
        for files in by_name.values()
        if len(files) > 1
    ]
    if repeated:
        raise InputError(repeated)
