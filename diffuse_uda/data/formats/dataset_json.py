"""What a centre's `dataset.json` says (nnU-Net v2), with every broken rule at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from diffuse_uda.data.broken_rule import BrokenRuleError

EVALUATION_PARTS = ("development", "test")
MAX_CLASSES = 256
"""Classes are stored as uint8, once they are numbered without gaps."""
_KEYS_WITH_PATHS = ("dataset", "training", "test", "evaluation", "unlabelled")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetDescription:
    """The parts of `dataset.json` that this project uses."""

    label_names: dict[int, str] = field(default_factory=dict)
    """Value in a label map to structure, ascending, with gaps where the file has them; 0 is the background."""
    channel_name: str = ""
    num_training: int | None = None
    evaluation: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Part (`development`, `test`) to the cases in it."""
    unlabelled: tuple[str, ...] = ()
    """Training scans of a source that have no label map, on purpose."""


def read_description(path: Path) -> tuple[DatasetDescription, list[BrokenRuleError]]:
    """Read `dataset.json`.

    Args:
        path: The file itself.

    Returns:
        What could be understood, and the broken rules; the description is usable only if there are none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found, fix = "no such file", "write one; the README of this project shows a minimal one"
        return DatasetDescription(), [_invalid(found, fix)]
    except (OSError, ValueError, RecursionError) as error:
        return DatasetDescription(), [_invalid(f"{type(error).__name__}: {error}", "repair the file's JSON")]
    if not isinstance(content, dict):
        return DatasetDescription(), [
            _invalid(f"a JSON {type(content).__name__}", "put everything in one {...} object")
        ]
    broken: list[BrokenRuleError] = []
    broken.extend(_unsafe_paths(content))
    if "dataset" in content:
        broken.append(_invalid("a `dataset` map of files", "remove it: the folders imagesTr, labelsTr, ... are listed"))
    description = DatasetDescription(
        label_names=_label_names(content.get("labels"), broken),
        channel_name=_channel_name(content.get("channel_names"), broken),
        num_training=_num_training(content.get("numTraining"), broken),
        evaluation=_evaluation(content.get("evaluation", {}), broken),
        unlabelled=_unlabelled(content.get("unlabelled", []), broken),
    )
    return description, broken


def _invalid(found: str, fix: str) -> BrokenRuleError:
    return BrokenRuleError(
        "invalid-dataset-json",
        found=found,
        fix=fix,
    )


def _label_names(labels: Any, broken: list[BrokenRuleError]) -> dict[int, str]:  # noqa: ANN401 - raw JSON
    if not isinstance(labels, dict) or not labels:
        broken.append(_invalid(f"labels: {labels!r}", 'list them, for instance {"background": 0, "heart": 1}'))
        return {}
    if all(str(key).isdigit() for key in labels):
        broken.append(_invalid(f"labels in the order of nnU-Net v1: {labels}", "swap them to name: number"))
        return {}
    odd = {name: value for name, value in labels.items() if not isinstance(value, int) or isinstance(value, bool)}
    if odd:
        broken.append(_invalid(f"labels that are no integers: {odd}", "give every structure one integer, no regions"))
        return {}
    if "ignore" in labels:
        broken.append(BrokenRuleError("ignore-label", found=f"an `ignore` label ({labels['ignore']})"))
    values = sorted(labels.values())
    if len(set(values)) < len(values) or values[0] != 0 or not 1 < len(values) <= MAX_CLASSES:
        broken.append(BrokenRuleError("label-values", found=f"label values {values}"))
    return {value: name for name, value in sorted(labels.items(), key=lambda item: item[1])}


def _channel_name(channels: Any, broken: list[BrokenRuleError]) -> str:  # noqa: ANN401 - raw JSON
    if not isinstance(channels, dict) or not channels:
        broken.append(_invalid(f"channel_names: {channels!r}", 'name the one channel, for instance {"0": "T1w"}'))
        return ""
    if len(channels) > 1:
        broken.append(several_channels(f"channel_names {channels}"))
    return str(next(iter(channels.values())))


def several_channels(found: str) -> BrokenRuleError:
    """More than one channel a case: said in one place, found in `dataset.json` or in file names."""
    return BrokenRuleError("several-channels", found=found)


def _num_training(count: Any, broken: list[BrokenRuleError]) -> int | None:  # noqa: ANN401 - raw JSON
    if count is None or (isinstance(count, int) and not isinstance(count, bool)):
        return count
    broken.append(_invalid(f"numTraining: {count!r}", "write the number of training cases as an integer"))
    return None


def _evaluation(parts: Any, broken: list[BrokenRuleError]) -> dict[str, tuple[str, ...]]:  # noqa: ANN401 - raw JSON
    is_map = isinstance(parts, dict) and all(
        isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in parts.values()
    )
    if not is_map or not parts.keys() <= set(EVALUATION_PARTS):
        broken.append(_invalid(f"evaluation: {parts!r}", 'use {"development": [case, ...], "test": [case, ...]}'))
        return {}
    named = Counter(case for cases in parts.values() for case in cases)
    if twice := sorted(case for case, count in named.items() if count > 1):
        broken.append(BrokenRuleError("case-in-two-parts", found=f"{twice} more than once under evaluation"))
    return {part: tuple(cases) for part, cases in parts.items()}


def _unlabelled(cases: Any, broken: list[BrokenRuleError]) -> tuple[str, ...]:  # noqa: ANN401 - raw JSON
    if not isinstance(cases, list) or not all(isinstance(case, str) for case in cases):
        broken.append(_invalid(f"unlabelled: {cases!r}", "list the ids of the unlabelled training scans"))
        return ()
    return tuple(sorted(set(cases)))


def _unsafe_paths(content: Mapping[str, Any]) -> Iterator[BrokenRuleError]:
    for key in _KEYS_WITH_PATHS:
        for text in _strings(content.get(key)):
            windows = PureWindowsPath(text)
            if ".." in windows.parts or windows.drive or windows.root or PurePosixPath(text).is_absolute():
                yield BrokenRuleError("path-traversal", found=f"{text!r} under {key}")


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - raw JSON
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield str(key)
            yield from _strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
