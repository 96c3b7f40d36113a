"""DICOM: every study below a folder is a case, one series of it the scan, a DICOM-SEG or RTSTRUCT on it the labels.

Files are told by their content. Localizers, secondary captures, colour images, images without a place in the patient,
objects that are no images, and second copies of one object are left out and counted. Which series of a study is meant
is never guessed: with more than one, the options have to leave one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.contract import (
    LabelSource,
    ListedCase,
    Listing,
    Problems,
    finished_listing,
    require_folder,
)
from diffuse_uda.data.formats.dicom_headers import AnnotationFile, ImageFile, find_dicom
from diffuse_uda.data.formats.dicom_seg import DicomSegmentation
from diffuse_uda.data.formats.dicom_series import DicomSeries
from diffuse_uda.data.formats.rtstruct import StructureSet

LAYOUT = "dicom"
Annotations = Literal["seg", "rtstruct", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomChoice:
    """Which of the series and annotations are meant."""

    series: tuple[str, ...] = ()
    """Series Instance UIDs; empty for any."""
    description: str = "*"
    """Pattern of the Series Description, with `*` and `?`, in any case of letters."""
    modality: str | None = None
    """`CT`, `MR`, ...; None for any."""
    annotations: Annotations | None = None
    """Where labels come from; None for whichever kind there is."""
    structures: tuple[str, ...] = ()
    """Names of the segments or regions to read, in the order of the classes. They are said, never taken over: such a
    name is free text, and class names are seen by every centre."""


def list_dicom(
    root: Path,
    choice: DicomChoice,
    *,
    progress: Callable[[int], None] = lambda count: None,  # noqa: ARG005 - nobody looks
) -> Listing:
    """List the studies below a folder.

    Args:
        root: Holds DICOM files, in any order and under any name.
        choice: Which series and annotations are meant.
        progress: Told the number of files looked at, now and then.

    Returns:
        One case a study that has such a series. `label_names` numbers the structures from 1 on.

    Raises:
        InputError: If no study has such a series, one has several, or a series several annotations.
    """
    require_folder(LAYOUT, root)
    found = find_dicom(root, progress=progress)
    problems = Problems(LAYOUT)
    studies: defaultdict[str, defaultdict[str, list[ImageFile]]] = defaultdict(lambda: defaultdict(list))
    num_other = set()
    for image in found.images:
        if _is_meant(image, choice):
            studies[image.study][image.series].append(image)
        else:
            num_other.add(image.series)
    chosen: dict[str, list[ImageFile]] = {}
    for study, series in studies.items():
        if len(series) > 1:
            problems.add(_several_series(series), place=next(iter(series.values()))[0].path.parent, case=study)
        chosen[study] = files = next(iter(series.values()))
        if len({file.frame_of_reference for file in files}) > 1:
            rule = BrokenRuleError(
                "dicom-other-frame-of-reference",
                found="one series in several frames of reference",
                wanted="one patient space",
                fix="export the series again from its source",
            )
            problems.add(rule, place=files[0].path.parent, case=study)
    annotated = {study: _annotation_of(files, found.annotations, choice, problems) for study, files in chosen.items()}
    numbers = _numbers([one for one in annotated.values() if one is not None], choice, problems, root)
    cases = [
        ListedCase(
            case_id=study,
            patient=files[0].patient,
            place=files[0].path.parent,
            image=DicomSeries(files=tuple(sorted(file.path for file in files))),
            label_map=_label_source(annotated[study], files[0].frame_of_reference, numbers),
        )
        for study, files in chosen.items()
    ]
    notes = [f"{count} x {reason}" for reason, count in sorted(found.left_out.items())]
    if num_other:
        notes.append(f"{len(num_other)} other series")
    for study, one in annotated.items():
        if one is not None and (lacking := sorted(set(choice.structures) - set(one.structures))):
            # What is not drawn trains as background, be it absent or forgotten; the reader cannot tell.
            notes.append(f"{chosen[study][0].path.parent}: nothing is drawn for {', '.join(lacking)}")
    modalities = {files[0].modality for files in chosen.values()}
    return finished_listing(
        LAYOUT,
        root,
        cases,
        problems,
        label_names={number: name for name, number in numbers.items()},
        channel_name=next(iter(modalities)) if len(modalities) == 1 else "",
        notes=notes,
    )


def _is_meant(image: ImageFile, choice: DicomChoice) -> bool:
    return (
        (not choice.series or image.series in choice.series)
        and fnmatchcase(image.description.casefold(), choice.description.casefold())
        and (choice.modality is None or image.modality == choice.modality)
    )


def _several_series(series: Mapping[str, Sequence[ImageFile]]) -> BrokenRuleError:
    lines = [
        f"{uid} ({files[0].modality}, {files[0].description!r}, {len(files)} files)" for uid, files in series.items()
    ]
    return BrokenRuleError(
        "dicom-several-series",
        found=f"{len(series)} series in one study: {'; '.join(sorted(lines))}",
        wanted="one series of every study",
        fix="say which one is meant: --description PATTERN, --series UID (once or more), or --modality",
    )


def _annotation_of(
    files: Sequence[ImageFile], annotations: Sequence[AnnotationFile], choice: DicomChoice, problems: Problems
) -> AnnotationFile | None:
    if choice.annotations == "none":
        return None
    fitting = [
        one
        for one in annotations
        if files[0].series in one.series
        and (choice.annotations is None or one.is_segmentation == (choice.annotations == "seg"))
        and (not choice.structures or not set(choice.structures).isdisjoint(one.structures))
    ]
    if len(fitting) > 1:
        rule = BrokenRuleError(
            "dicom-several-annotations",
            found=", ".join(f"{one.path.name} ({', '.join(one.structures)})" for one in fitting),
            wanted="one DICOM-SEG or RTSTRUCT for a series",
            fix="say which kind is meant (--annotations seg or rtstruct) or which structures (--structure NAME)",
        )
        problems.add(rule, place=fitting[0].path, case=files[0].study)
    return fitting[0] if fitting else None


def _numbers(
    annotations: Sequence[AnnotationFile], choice: DicomChoice, problems: Problems, root: Path
) -> dict[str, int]:
    there = {name for one in annotations for name in one.structures}
    if annotations and not choice.structures:
        rule = BrokenRuleError(
            "dicom-structure",
            found=f"the structures {sorted(there)}, and nobody says which are meant",
            wanted="--structure NAME, once for every class",
            fix="name them, if their names may be seen by other centres; or --annotations none",
        )
        problems.add(rule, place=root)
    if missing := [name for name in choice.structures if name not in there and annotations]:
        rule = BrokenRuleError(
            "dicom-structure",
            found=f"no structure named {missing}",
            wanted=f"names out of {sorted(there)}",
            fix="write --structure as the segmentation names it",
        )
        problems.add(rule, place=root)
    return {name: number for number, name in enumerate(choice.structures, start=1)}


def _label_source(
    annotation: AnnotationFile | None, frame_of_reference: str, numbers: Mapping[str, int]
) -> LabelSource | None:
    if annotation is None:
        return None
    kind = DicomSegmentation if annotation.is_segmentation else StructureSet
    return kind(path=annotation.path, frame_of_reference=frame_of_reference, numbers=dict(numbers))
