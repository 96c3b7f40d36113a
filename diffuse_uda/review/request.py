"""From what somebody asks for to what is reported on: scans, model, classes, folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.data.formats.dataset_json import read_description
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.reporting.sprites import SpriteLimits
from diffuse_uda.review.scans import ReviewScan, find_scans, with_predictions, with_references
from diffuse_uda.review.site_report import ReviewPlan
from diffuse_uda.training.checkpoints import checkpoint_sha256
from diffuse_uda.training.prediction import LoadedSegmenter, load_segmenter


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a command line says."""

    model: Path | None = None
    out: Path | None = None
    predictions: Path | None = None
    references: Path | None = None
    labels: Path | None = None
    max_slices: int = 48
    max_page_bytes: int = 40_000_000
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Everything `write_site_report` needs."""

    plan: ReviewPlan
    segmenter: LoadedSegmenter | None
    model_sha256: str


def of_scans(places: Sequence[Path], options: Options) -> Request:
    """Report on scans.

    Raises:
        ConfigError: If there is nowhere to write to, or neither model nor predictions.
        InputError: If scans or classes cannot be found.
        CheckpointError: If the model cannot be used.
    """
    if options.out is None:
        msg = "--out is missing: name a new folder for the report"
        raise ConfigError(msg)
    scans = find_scans(places)
    description = options.labels or next((file for place in places if (file := place / "dataset.json").is_file()), None)
    title = options.title or places[0].resolve().name
    return complete(scans, options, out=options.out, description=description, title=title)


def complete(
    scans: Sequence[ReviewScan], options: Options, *, out: Path, description: Path | None, title: str
) -> Request:
    """Add model, predictions and references to scans.

    Args:
        scans: What to report on.
        options: What a command line says.
        out: Folder of the report.
        description: `dataset.json` with the classes, for a report without a model.
        title: Heading.
    """
    if options.predictions is not None:
        scans = with_predictions(scans, options.predictions)
    if options.references is not None:
        scans = with_references(scans, options.references)
    segmenter, sha256 = None, ""
    label_names: tuple[str, ...]
    made_by = []
    if options.model is not None:
        segmenter = load_segmenter(options.model)
        sha256, label_names = checkpoint_sha256(options.model), segmenter.label_names
        made_by.append(f"Segmented by {options.model.resolve().name}, weights {sha256[:16]}.")
    else:
        if description is None or not any(scan.prediction for scan in scans):
            msg = (
                "nothing to show: name a model with --model, or label maps with --predictions and their classes with "
                "--labels dataset.json"
            )
            raise ConfigError(msg)
        label_names = _classes_in(description)
    if num_given := sum(scan.prediction is not None for scan in scans):
        made_by.append(f"{num_given} segmentations were there already and are shown as they are.")
    plan = ReviewPlan(
        title=title,
        scans=scans,
        label_names=label_names,
        out=out,
        made_by=made_by,
        max_page_bytes=options.max_page_bytes,
        limits=SpriteLimits(max_slices=options.max_slices),
    )
    return Request(plan=plan, segmenter=segmenter, model_sha256=sha256)


def _classes_in(file: Path) -> tuple[str, ...]:
    described, broken = read_description(file)
    if broken:
        raise InputError([rule.at(centre="-", file=str(file)) for rule in broken])
    return tuple(described.label_names[value] for value in sorted(described.label_names))
