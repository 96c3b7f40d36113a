"""From a scan to a label map on the scan's own grid, with a finished model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from diffuse_uda.config import ComputeConfig, StudyConfig
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.cases import prepare_volume, restore_to_scan
from diffuse_uda.data.volumes import Volume, load_volume, save_volume
from diffuse_uda.errors import CheckpointError, InputError
from diffuse_uda.models import build_segmenter
from diffuse_uda.training.checkpoints import load_checkpoint, load_weights_
from diffuse_uda.training.device import choose_device, place
from diffuse_uda.training.inference import label_probabilities


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSegmenter:
    """A segmenter ready to predict, with the study it comes from."""

    model: nn.Module
    config: StudyConfig
    label_names: tuple[str, ...]
    """Classes in the order of their values, background first."""

    def network_alone(self) -> LoadedSegmenter:
        """The same without the scan's own intensities (`prediction.mixture-share`): all that an exported form holds."""
        prediction = self.config.prediction.model_copy(update={"mixture_share": 0.0})
        return dataclasses.replace(self, config=self.config.model_copy(update={"prediction": prediction}))


def segmenter_metadata(config: StudyConfig, label_names: tuple[str, ...]) -> dict[str, object]:
    """What has to lie beside a segmenter's weights so that `load_segmenter` can use them."""
    return {"config": config.to_flat(), "label_names": list(label_names)}


def load_segmenter(folder: Path, compute: ComputeConfig | None = None) -> LoadedSegmenter:
    """Load an adapted segmenter.

    Args:
        folder: Checkpoint folder whose metadata `segmenter_metadata` made.
        compute: Where to run; by default as the study said.

    Raises:
        CheckpointError: If the checkpoint is missing, damaged, or holds no segmenter.
    """
    weights, metadata = load_checkpoint(folder)
    try:
        config = StudyConfig.from_flat(metadata["config"])
        label_names = tuple(metadata["label_names"])
    except KeyError as error:
        msg = f"{folder} holds weights, but its manifest lacks {error}; wanted the segmenter folder of a finished run"
        raise CheckpointError(msg) from error
    if compute is not None:
        config = config.model_copy(update={"compute": compute})
    model = build_segmenter(config.segmenter, len(label_names))
    load_weights_(model, weights)
    return LoadedSegmenter(
        model=place(model, choose_device(config.compute), config.compute).eval(),
        config=config,
        label_names=label_names,
    )


def segment_volume(segmenter: LoadedSegmenter, scan: Volume) -> Volume:
    """Segment one scan that is already in memory, whatever format it came in.

    Returns:
        uint8 classes on the scan's own grid.

    Raises:
        BrokenRuleError: If the scan cannot be used.
    """
    grid = segmenter.config.grid
    case = prepare_volume("", scan, None, grid.spacing_mm, grid.patch_size)
    with torch.inference_mode():
        probabilities = label_probabilities(segmenter.model, case.image, segmenter.config)
    return restore_to_scan(probabilities, case)


def predict_scan(segmenter: LoadedSegmenter, scan: Path, folder: Path) -> Path:
    """Segment one scan and write the label map beside its kind.

    Args:
        segmenter: From `load_segmenter`.
        scan: NIfTI file of one 3D volume; never changed.
        folder: Where the label map goes, under the scan's name without nnU-Net's channel suffix `_0000`.

    Returns:
        The written file: uint8 classes on the scan's own grid, with a header made from scratch.

    Raises:
        InputError: If the scan cannot be used; the message names the rule and what to do.
    """
    name = scan.name.removesuffix(".gz").removesuffix(".nii")
    file = folder / f"{name.removesuffix('_0000')}.nii.gz"
    try:
        if scan.resolve() == file.resolve():
            rule = BrokenRuleError(
                "output-is-input",
                found=f"the label map would replace the scan {scan.name}",
                wanted="an output folder other than the scan's",
                fix="choose another --out",
            )
            raise rule
        label_map = segment_volume(segmenter, load_volume(scan))
    except BrokenRuleError as error:
        raise InputError([error.at(centre="-", case=name, file=str(scan))]) from error
    save_volume(file, label_map, dtype="uint8")
    return file
