"""Plain folders: where a case's scan and label map are is said by a pattern.

`{case}/t1.nii.gz` with `{case}/seg.nii.gz`, or `scans/{case}.nii` with `masks/{case}_mask.nii.gz`. A pattern is a path
below the data set's folder. `{case}` stands for the case's name, `{patient}` for the person's (the case's, where it is
not given), both for a part of one folder or file name; `*` stands for anything in one name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

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
from diffuse_uda.errors import ConfigError

LAYOUT = "folders"
_FIELD = re.compile(r"\{([^{}]*)\}|\*")
_FIELDS = ("case", "patient")


def list_folders(root: Path, image_pattern: str, label_pattern: str | None = None) -> Listing:
    """List the cases of a folder by the pattern of their paths.

    Args:
        root: The data set's folder.
        image_pattern: Path of a scan below `root`, with `{case}`.
        label_pattern: Path of its label map; None if there are none.

    Raises:
        ConfigError: If a pattern leaves the folder, or has no `{case}`.
        InputError: If nothing fits, one name fits two files, or a label map has no scan.
    """
    require_folder(LAYOUT, root)
    image_form = _compiled(image_pattern)
    label_form = None if label_pattern is None else _compiled(label_pattern)
    files = list(files_below(root))
    problems = Problems(LAYOUT)
    images = _matching(root, files, image_form, image_pattern, problems)
    labels = {} if label_form is None else _matching(root, files, label_form, label_pattern or "", problems)
    for case_id in sorted(labels.keys() - images.keys()):
        rule = BrokenRuleError(
            "label-map-without-image",
            found=f"a label map of {case_id!r} and no file {image_pattern}",
            wanted="an image for every label map",
            fix="add the image, or take the label map out",
        )
        problems.add(rule, place=labels[case_id][0], case=case_id)
    cases = [
        ListedCase(
            case_id=case_id,
            patient=patient,
            place=path,
            image=NiftiFile(path=path),
            label_map=NiftiFile(path=labels[case_id][0]) if case_id in labels else None,
        )
        for case_id, (path, patient) in images.items()
    ]
    return finished_listing(LAYOUT, root, cases, problems)


def _compiled(pattern: str) -> re.Pattern[str]:
    path = PurePosixPath(pattern)
    fields = [match[1] for match in _FIELD.finditer(pattern) if match[1] is not None]
    if path.is_absolute() or ".." in path.parts or "case" not in fields or not set(fields) <= set(_FIELDS):
        msg = (
            f"pattern {pattern!r}: wanted a path below the folder with {{case}} in it, and no field but "
            f"{' and '.join(f'{{{name}}}' for name in _FIELDS)}, for instance {{case}}/t1.nii.gz"
        )
        raise ConfigError(msg)
    text, last, seen = "", 0, set[str]()
    for match in _FIELD.finditer(str(path)):
        text += re.escape(str(path)[last : match.start()])
        name = match[1]
        # A field that comes again means the same text again.
        text += "[^/]*" if name is None else f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
        seen.add(name)
        last = match.end()
    return re.compile(text + re.escape(str(path)[last:]))


def _matching(
    root: Path, files: Sequence[Path], form: re.Pattern[str], pattern: str, problems: Problems
) -> dict[str, tuple[Path, str]]:
    """Case id to file and patient."""
    found: dict[str, tuple[Path, str]] = {}
    for file in files:
        match = form.fullmatch(file.relative_to(root).as_posix())
        if match is None:
            continue
        patient = match.groupdict().get("patient")
        # Two persons may have a case of the same name, such as a date.
        case_id = match["case"] if patient is None else f"{patient}/{match['case']}"
        if case_id in found:
            rule = BrokenRuleError(
                "repeated-case-name",
                found=f"{found[case_id][0]} and {file} for {pattern}",
                wanted="one file for every case",
                fix="write more of the path into the pattern",
            )
            problems.add(rule, place=file, case=case_id)
            continue
        found[case_id] = (file, patient or case_id)
    return found
