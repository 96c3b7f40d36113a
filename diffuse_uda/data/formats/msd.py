"""A data list in JSON: the Medical Segmentation Decathlon's `dataset.json`, and MONAI's lists, which grew out of it.

MSD (Simpson et al. 2019, arXiv:1902.09063): `{"modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"},
"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}], "test": ["./imagesTs/b.nii.gz"]}`.
MONAI (`monai.data.load_decathlon_datalist`, Auto3DSeg): the same lists, also `validation` and `testing`, whose entries
are objects, and a `fold` in entries of `training`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.contract import ListedCase, Listing, NiftiFile, Part, Problems, finished_listing
from diffuse_uda.data.formats.dataset_json import several_channels
from diffuse_uda.data.formats.files_below import require_inside
from diffuse_uda.data.volumes import FILE_ENDINGS

LAYOUT = "msd"
_LISTS: Mapping[str, Part] = {"training": "train", "validation": "development", "test": "test", "testing": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    part: Part
    image: str
    label: str | None


def list_msd(datalist: Path, *, fold: int | None = None) -> Listing:
    """List the cases of a data list.

    Args:
        datalist: `dataset.json`, or the folder that holds it; paths in it are relative to that folder.
        fold: Entries of `training` with this fold are the development cases; None to train with all of them.

    Raises:
        InputError: If the file is no such list, a path leaves the folder, or a case has several channels.
    """
    file = datalist / "dataset.json" if datalist.is_dir() else datalist
    root, problems = file.parent, Problems(LAYOUT)
    try:
        content = _read(file)
    except BrokenRuleError as rule:
        problems.add(rule, place=file)
        problems.refuse_any()
        raise
    cases = []
    for key, part in _LISTS.items():
        for raw in content.get(key, []) if isinstance(content.get(key, []), list) else [None]:
            try:
                cases.append(_case(root, _entry(key, part, raw, fold)))
            except BrokenRuleError as rule:
                problems.add(rule, place=file, case=str(raw)[:80])
    try:
        label_names = _label_names(content.get("labels", {}))
    except BrokenRuleError as rule:
        problems.add(rule, place=file)
        label_names = {}
    return finished_listing(
        LAYOUT, root, cases, problems, label_names=label_names, channel_name=_channel_name(content.get("modality"))
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid(found=f"{type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise _invalid(found=f"a JSON {type(content).__name__}")
    return content


def _invalid(*, found: str) -> BrokenRuleError:
    return BrokenRuleError(
        "invalid-datalist",
        found=found,
        wanted='an object with "training": [{"image": path, "label": path}, ...]',
        fix="name the data list of MSD or MONAI (its other lists: validation, test, testing)",
    )


def _entry(key: str, part: Part, raw: Any, fold: int | None) -> _Entry:  # noqa: ANN401 - raw JSON
    if isinstance(raw, str):  # MSD lists its unlabelled scans without a label
        return _Entry(part=part, image=raw, label=None)
    image = raw.get("image") if isinstance(raw, dict) else None
    label = raw.get("label") if isinstance(raw, dict) else None
    image, label = _only(image), _only(label)
    if not isinstance(image, str) or not (label is None or isinstance(label, str)):
        raise _invalid(found=f"{raw!r} under {key}")
    is_held_out = part == "train" and fold is not None and raw.get("fold") == fold
    return _Entry(part="development" if is_held_out else part, image=image, label=label)


def _only(value: Any) -> Any:  # noqa: ANN401 - raw JSON
    if isinstance(value, list) and len(value) > 1:
        raise several_channels(found=f"a case with the channels {value}")
    return value[0] if isinstance(value, list) and value else value


def _case(root: Path, entry: _Entry) -> ListedCase:
    image = _inside(root, entry.image)
    name = PurePosixPath(entry.image).name
    stem = next((name.removesuffix(ending) for ending in FILE_ENDINGS if name.endswith(ending)), name)
    return ListedCase(
        case_id=stem,
        patient=stem,
        place=image,
        image=NiftiFile(path=image),
        label_map=None if entry.label is None else NiftiFile(path=_inside(root, entry.label)),
        part=entry.part,
    )


def _inside(root: Path, text: str) -> Path:
    windows = PureWindowsPath(text)
    if ".." in windows.parts or windows.drive or windows.root:
        raise BrokenRuleError(
            "path-traversal",
            found=repr(text),
            wanted="paths inside the data list's folder",
            fix="remove absolute paths and `..`; put the list beside the files",
        )
    path = root / text
    require_inside(path, root)
    return path


def _label_names(labels: Any) -> dict[int, str]:  # noqa: ANN401 - raw JSON
    """MSD writes number to name, nnU-Net v2 name to number."""
    pairs = list(_pairs(labels))
    names = {number: name for number, name in pairs if number != 0}
    if len({number for number, _ in pairs}) < len(pairs):
        raise _invalid(found=f"one number for two labels: {labels!r}")
    return names


def _pairs(labels: Any) -> Iterator[tuple[int, str]]:  # noqa: ANN401 - raw JSON
    if not isinstance(labels, dict):
        raise _invalid(found=f"labels {labels!r}")
    for key, value in labels.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield value, key
        elif isinstance(value, str) and key.isdecimal():
            yield int(key), value
        else:
            raise _invalid(found=f"the label {key!r}: {value!r}")


def _channel_name(modality: Any) -> str:  # noqa: ANN401 - raw JSON
    names = list(modality.values()) if isinstance(modality, dict) else [modality]
    return names[0] if len(names) == 1 and isinstance(names[0], str) else ""
