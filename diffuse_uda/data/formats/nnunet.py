"""A centre as a folder in the nnU-Net v2 layout.

    dataset.json
    imagesTr/<case>_0000.nii.gz      training scans
    labelsTr/<case>.nii.gz           their label maps (source only; `unlabelled` in dataset.json names scans without)
    imagesTs/, labelsTs/             scans to evaluate on, and their label maps
    oracle/labelsTr/<case>.nii.gz    label maps of a target's training scans (reference rows only)

Only names are read here; what is inside the files is the gate's business (`diffuse_uda.data.intake`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dataset_json import EVALUATION_PARTS, read_description, several_channels
from diffuse_uda.data.formats.folder_listing import FileListing, list_files
from diffuse_uda.data.rules import Reaction, reaction_to
from diffuse_uda.data.volumes import FILE_ENDINGS
from diffuse_uda.errors import Finding, InputError

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFiles:
    """Where one case is on this site's disk."""

    case_id: str
    """Never leaves the site."""
    image: Path
    label_map: Path | None
    label_values: tuple[int, ...] = ()
    """What stands in the label map for class 0, 1, 2, ...; empty where values are the classes themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CentreFolder:
    """The cases of one centre, by name."""

    root: Path
    site_id: str
    train: tuple[CaseFiles, ...]
    test: tuple[CaseFiles, ...]
    label_names: dict[int, str]
    """Class index to structure, ascending without gaps; 0 is the background."""
    label_values: tuple[int, ...] = ()
    """What stands in label maps for class 0, 1, 2, ...; empty where values are the classes themselves."""
    evaluation: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part (`development`, `test`) to case ids of `test`."""
    channel_name: str = ""
    num_training: int | None = None
    """What `dataset.json` claims."""
    unlabelled: frozenset[str] = frozenset()
    """Ids of training scans that `dataset.json` declares to have no label map; one that is there is out of reach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CentreListing:
    """A centre as far as its names go: usable only without `problems`."""

    centre: CentreFolder
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def read_centre(root: Path, site_id: str | None = None, *, follow_links: bool = False) -> CentreFolder:
    """Read the layout of one centre; no scan is opened.

    Args:
        root: The centre's folder.
        site_id: Name in messages and reports; the folder's name if not given.
        follow_links: Whether links may lead out of the folder.

    Returns:
        Cases sorted by id. `label_map` is None where there is no file of that name.

    Raises:
        InputError: If the folder as a whole cannot be used; single files that cannot be are left out.
    """
    listing = list_centre(root, site_id, follow_links=follow_links)
    if refusals := [problem for problem in listing.problems if reaction_to(problem.rule) is not Reaction.CASE]:
        raise InputError(refusals)
    return listing.centre


def list_centre(root: Path, site_id: str | None = None, *, follow_links: bool = False) -> CentreListing:
    """Read the layout of one centre and keep going: the gate reports all problems of a folder together."""
    site = site_id or root.name
    if not root.is_dir():
        found = "a file, not a folder" if root.exists() else "no such folder"
        problem = BrokenRuleError("missing-folder", found=found)
        return CentreListing(centre=_empty_centre(root, site), problems=[problem.at(centre=site, file=str(root))])
    description, broken = read_description(root / "dataset.json")
    problems = [rule.at(centre=site, file=str(root / "dataset.json")) for rule in broken]
    folders = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")
    listings = {name: list_files(root, name, site, follow_links=follow_links) for name in folders}
    for listing in listings.values():
        problems.extend(listing.problems)
    values = tuple(description.label_names)
    label_values = () if values == tuple(range(len(values))) else values
    unlabelled = frozenset(description.unlabelled)
    train = tuple(
        replace(case, label_map=None) if case.case_id in unlabelled else case
        for case in _pair(listings["imagesTr"], listings["labelsTr"], site, label_values, problems)
    )
    test = _pair(listings["imagesTs"], listings["labelsTs"], site, label_values, problems)
    if not (train or listings["imagesTr"].files or listings["imagesTr"].problems):
        problem = BrokenRuleError("no-cases", found="no scans in imagesTr")
        problems.append(problem.at(centre=site, file=str(root / "imagesTr")))
    centre = replace(
        _empty_centre(root, site),
        train=train,
        test=test,
        label_names=dict(enumerate(description.label_names.values())),
        label_values=label_values,
        evaluation=description.evaluation or {"test": tuple(case.case_id for case in test)},
        channel_name=description.channel_name,
        num_training=description.num_training,
        unlabelled=unlabelled,
    )
    problems.extend(_repeated_ids(centre))
    problems.extend(_unknown_evaluation_cases(centre, {problem.case for problem in problems}))
    problems.extend(_unknown_unlabelled_cases(centre))
    return CentreListing(
        centre=centre,
        problems=problems,
        warnings=[warning for listing in listings.values() for warning in listing.warnings],
    )


def evaluation_cases(centre: CentreFolder, part: Literal["development", "test", "all"]) -> tuple[CaseFiles, ...]:
    """The labelled scans that a score may be computed on.

    Args:
        centre: One centre.
        part: `development` for choices, `test` for what is reported, `all` for every labelled test scan.

    Returns:
        Cases with a label map, sorted by id; empty where the centre has none.
    """
    wanted = None if part == "all" else set(centre.evaluation.get(part, ()))
    return tuple(
        case for case in centre.test if case.label_map is not None and (wanted is None or case.case_id in wanted)
    )


def without_training_labels(centre: CentreFolder) -> CentreFolder:
    """A target as adaptation may see it: whatever is in `labelsTr` is out of reach."""
    return replace(centre, train=tuple(replace(case, label_map=None) for case in centre.train))


def read_oracle_label_maps(root: Path) -> dict[str, Path]:
    """Find the label maps of a target's training scans.

    ONLY the target-supervised reference row of a study may call this; no adaptation method may see these files.

    Args:
        root: The centre's folder.

    Returns:
        Case id to label map; empty where the centre has no `oracle/labelsTr`.

    Raises:
        InputError: If a file there breaks a rule of names.
    """
    listing = list_files(root, "oracle/labelsTr", root.name)
    if listing.problems:
        raise InputError(listing.problems)
    return dict(listing.files)


def _empty_centre(root: Path, site_id: str) -> CentreFolder:
    return CentreFolder(root=root, site_id=site_id, train=(), test=(), label_names={})


def _pair(
    images: FileListing, labels: FileListing, site: str, label_values: tuple[int, ...], problems: list[Finding]
) -> tuple[CaseFiles, ...]:
    cases: dict[str, CaseFiles] = {}
    for stem, path in images.files:
        match = _CHANNEL.fullmatch(stem)
        if match is None:
            rule = BrokenRuleError(
                "channel-suffix", found=f"an image named {path.name}", fix=f"rename it to {stem}_0000.nii.gz"
            )
            problems.append(rule.at(centre=site, case=stem, file=str(path)))
        elif match["channel"] != "0000":
            problems.append(several_channels(path.name).at(centre=site, case=match["case"], file=str(path)))
        else:
            cases[match["case"]] = CaseFiles(
                case_id=match["case"], image=path, label_map=None, label_values=label_values
            )
    refused = {Path(problem.file).name for problem in images.problems}
    for stem, path in labels.files:
        if stem in cases:
            cases[stem] = replace(cases[stem], label_map=path)
        elif not any(f"{stem}_0000{ending}" in refused for ending in FILE_ENDINGS):
            found = f"{path.parent.name}/{path.name} and no {images.folder}/{stem}_0000.nii.gz"
            rule = BrokenRuleError("label-map-without-image", found=found)
            problems.append(rule.at(centre=site, case=stem, file=str(path)))
    return tuple(cases[case_id] for case_id in sorted(cases))


def _repeated_ids(centre: CentreFolder) -> Iterable[Finding]:
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for case in (*centre.train, *centre.test):
        folders[case.case_id.casefold()].append(f"{case.image.parent.name}/{case.image.name}")
    for files in folders.values():
        if len(files) > 1:
            rule = BrokenRuleError(
                "repeated-case-name",
                found=f"one name for {', '.join(files)} (upper and lower case count as the same)",
            )
            yield rule.at(centre=centre.site_id, case=files[0], file=str(centre.root))


def _unknown_evaluation_cases(centre: CentreFolder, refused: Collection[str]) -> Iterable[Finding]:
    """Ids that no scan has; of scans with a problem of their own, that problem alone is told."""
    known = {case.case_id for case in centre.test} | {_CHANNEL.sub(r"\g<case>", case) for case in refused}
    for part in EVALUATION_PARTS:
        for case_id in centre.evaluation.get(part, ()):
            if case_id not in known:
                rule = BrokenRuleError(
                    "unknown-evaluation-case",
                    found=f"{case_id!r} under evaluation.{part} of dataset.json, and no such scan in imagesTs",
                )
                yield rule.at(centre=centre.site_id, case=case_id, file=str(centre.root / "dataset.json"))


def _unknown_unlabelled_cases(centre: CentreFolder) -> Iterable[Finding]:
    for case_id in sorted(centre.unlabelled - {case.case_id for case in centre.train}):
        rule = BrokenRuleError(
            "unknown-unlabelled-case",
            found=f"{case_id!r} under unlabelled of dataset.json, and no such scan in imagesTr",
            wanted="ids of scans in imagesTr",
            fix="correct the id, or add the scan",
        )
        yield rule.at(centre=centre.site_id, case=case_id, file=str(centre.root / "dataset.json"))
