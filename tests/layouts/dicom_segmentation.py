"""DICOM-SEG of a label map, made by highdicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom import dcmread

from diffuse_uda.data.volumes import Volume
from tests.planted import PATIENT


def write_segmentation(
    path: Path,
    series: Sequence[Path],
    label_map: Volume,
    names: Mapping[int, str],
    *,
    kind: str = "BINARY",
    omit_empty_frames: bool = True,
) -> Path:
    """Write a segmentation of a series whose files are in the order of the label map's slices."""
    organ = CodedConcept("113132", "DCM", "Single subject selected from group")
    algorithm = hd.AlgorithmIdentificationSequence(name="x", version="1", family=organ)
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=CodedConcept("123037004", "SCT", "Body structure"),
            segmented_property_type=CodedConcept("10200004", "SCT", "Liver"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in names.items()
    ]
    pixels: Any = np.moveaxis(label_map.voxels, (0, 1, 2), (2, 1, 0)).astype(np.uint8)
    if kind == "FRACTIONAL":
        pixels = np.stack([(pixels == number) * 0.5 for number in names], axis=-1).astype(np.float32)
    sources = [dcmread(file) for file in series]
    uid = f"{sources[0].SeriesInstanceUID}.55"
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=uid,
        series_number=5,
        sop_instance_uid=f"{uid}.1",
        instance_number=1,
        manufacturer=PATIENT,
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=omit_empty_frames,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    segmentation.save_as(path)
    return path
