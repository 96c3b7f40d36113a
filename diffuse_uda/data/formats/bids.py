"""A BIDS tree: raw scans, and discrete segmentations in a derivative (or beside the scans).

    sub-01/ses-1/anat/sub-01_ses-1_acq-3D_T1w.nii.gz
    derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_space-orig_dseg.nii.gz   the labels
    derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_space-orig_dseg.tsv      index and name of each label
    derivatives/manual/dseg.tsv                                                or once for all

Taken from the BIDS specification 1.8, "Common principles" (entities, inheritance) and "Imaging data types" under
derivatives (discrete segmentations and their lookup tables). A case is a session of a subject, or the subject where
there are no sessions. More than one file that fits is never chosen from: the entities say which one is meant.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.contract import (
    ListedCase,
    Listing,
    NiftiFile,
    Problems,
    finished_listing,
    require_folder,
)
from diffuse_uda.data.formats.files_below import files_below
from diffuse_uda.data.volumes import FILE_ENDINGS

LAYOUT = "bids"
LABEL_SUFFIX = "dseg"
BESIDE = "."
"""In place of a derivative: the segmentations beside the scans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BidsChoice:
    """Which files of the tree are meant."""

    suffix: str = "T1w"
    entities: Mapping[str, str] = field(default_factory=dict)
    """Entity to value of the scan's name, such as `{"acq": "3D"}`; others may have any value."""
    derivative: str | None = None
    """Folder in `derivatives` whose segmentations are meant, or `BESIDE`; None if there is only one such folder."""
    label_entities: Mapping[str, str] = field(default_factory=dict)
    """The same for the segmentations, such as `{"desc": "manual"}`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BidsName:
    """A file's name, taken apart."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def case_id(self) -> str:
        """Subject and session."""
        session = self.entities.get("ses")
        return f"sub-{self.entities['sub']}" + (f"_ses-{session}" if session else "")


def list_bids(root: Path, choice: BidsChoice) -> Listing:
    """List the scans of one suffix, with their segmentations.

    Args:
        root: The raw data set's folder; its derivatives lie below.
        choice: Which of the files are meant.

    Raises:
        InputError: If nothing fits, or more than one scan or segmentation of a session does.
    """
    require_folder(LAYOUT, root)
    raw: list[BidsName] = []
    derived: defaultdict[str, list[BidsName]] = defaultdict(list)
    tables: list[Path] = []
    for path in files_below(root):
        inside = path.relative_to(root).parts
        if inside[0] in {"sourcedata", "code"}:
            continue
        if path.name == f"{LABEL_SUFFIX}.tsv" or path.name.endswith(f"_{LABEL_SUFFIX}.tsv"):
            tables.append(path)
        name = parse_name(path)
        if name is not None:
            (derived[inside[1]] if inside[0] == "derivatives" and len(inside) > 2 else raw).append(name)
    problems = Problems(LAYOUT)
    scans = _one_a_case(_fitting(raw, choice.suffix, choice.entities), problems, "entity")
    pipeline = _pipeline(root, derived, choice, problems)
    labels = _one_a_case(
        _fitting(raw if pipeline is None else derived[pipeline], LABEL_SUFFIX, choice.label_entities),
        problems,
        "label-entity",
    )
    cases = [
        ListedCase(
            case_id=case_id,
            patient=scan.entities["sub"],
            place=scan.path,
            image=NiftiFile(path=scan.path),
            label_map=NiftiFile(path=labels[case_id].path) if case_id in labels else None,
        )
        for case_id, scan in scans.items()
    ]
    used = (
        tables if pipeline is None else [table for table in tables if root / "derivatives" / pipeline in table.parents]
    )
    used += [table for table in tables if table.parent == root and table not in used]
    return finished_listing(
        LAYOUT,
        root,
        cases,
        problems,
        label_names=_label_names(used, labels.values(), problems),
        channel_name=choice.suffix,
    )


def parse_name(path: Path) -> BidsName | None:
    """Take a name such as `sub-01_ses-1_acq-3D_T1w.nii.gz` apart; None if it is no NIfTI file of that form."""
    stem = next((path.name.removesuffix(ending) for ending in FILE_ENDINGS if path.name.endswith(ending)), None)
    if stem is None:
        return None
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", maxsplit=1) for pair in pairs if "-" in pair)
    is_complete = len(entities) == len(pairs) and next(iter(entities), "") == "sub" and "-" not in suffix
    return BidsName(path=path, entities=entities, suffix=suffix) if is_complete else None


def _fitting(names: Iterable[BidsName], suffix: str, entities: Mapping[str, str]) -> list[BidsName]:
    wanted = entities.items()
    return [name for name in names if name.suffix == suffix and wanted <= name.entities.items()]


def _one_a_case(names: Iterable[BidsName], problems: Problems, option: str) -> dict[str, BidsName]:
    found: defaultdict[str, list[BidsName]] = defaultdict(list)
    for name in names:
        found[name.case_id].append(name)
    for case_id, several in found.items():
        if len(several) > 1:
            differ = sorted({key for name in several for key in name.entities} - {"sub", "ses"})
            rule = BrokenRuleError(
                "bids-ambiguous",
                found=", ".join(name.path.name for name in several),
                wanted="one file for every session of a subject",
                fix=f"say which one is meant: --{option} KEY=VALUE, with one of {differ or ['ses']}",
            )
            problems.add(rule, place=several[0].path, case=case_id)
    return {case_id: several[0] for case_id, several in found.items()}


def _pipeline(root: Path, derived: Mapping[str, list[BidsName]], choice: BidsChoice, problems: Problems) -> str | None:
    """The derivative with the segmentations; None where they lie beside the scans, or nowhere."""
    if choice.derivative == BESIDE:
        return None
    having = sorted(name for name, files in derived.items() if _fitting(files, LABEL_SUFFIX, choice.label_entities))
    if choice.derivative is None and len(having) <= 1:
        return next(iter(having), None)
    if choice.derivative in having:
        return choice.derivative
    rule = BrokenRuleError(
        "bids-ambiguous" if choice.derivative is None else "bids-derivative",
        found=f"segmentations in the derivatives {having}",
        wanted="one derivative" if choice.derivative is None else f"segmentations in derivatives/{choice.derivative}",
        fix="say which one is meant: --derivative NAME (a dot for those beside the scans)",
    )
    problems.add(rule, place=root / "derivatives")
    return having[0] if having else None


def _label_names(tables: Iterable[Path], labels: Iterable[BidsName], problems: Problems) -> dict[int, str]:
    """Join the lookup tables that the inheritance principle applies to the chosen segmentations."""
    stems = {label.path.name.split(".", maxsplit=1)[0] for label in labels}
    names: dict[int, str] = {}
    for table in tables:
        stem = table.name.split(".", maxsplit=1)[0]
        is_of_all = "sub-" not in stem
        if not (is_of_all or stem in stems):
            continue
        try:
            _add_table(table, names)
        except BrokenRuleError as rule:
            problems.add(rule, place=table)
    return names


def _add_table(table: Path, names: dict[int, str]) -> None:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = [(int(row["index"]), str(row["name"]).strip()) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenRuleError(
            "bids-lookup-table",
            found=f"{type(error).__name__}: {error}",
            wanted="a table of tab-separated columns `index` and `name`",
            fix="repair it, or name the labels by option",
        ) from error
    for index, name in rows:
        if index != 0 and names.setdefault(index, name) != name:
            raise BrokenRuleError(
                "bids-lookup-table",
                found=f"{index} is {name!r} here and {names[index]!r} in another table",
                wanted="one name for every number",
                fix="segmentations with different numbers cannot be one data set: choose by --derivative",
            )
